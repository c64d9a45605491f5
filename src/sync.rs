//! Local disk and the bucket behind it while the mount is up: uploads, the lease that makes one machine the writer,
//! followers that read what another machine writes, eviction of local copies, and the end of what is in the trash.

mod bucket_identity;
mod bucket_removals;
mod context;
mod error;
mod eviction;
mod follower;
mod lease;
mod links;
mod purge;
mod refile;
mod refusals;
mod storage;
#[cfg(test)]
mod tests;
mod trash_thread;
mod uploader;
mod uploader_start;

pub use bucket_identity::{BucketIdentityError, bind_follower, is_renamed, place_id};
pub use context::SyncContext;
pub use error::SyncError;
pub use eviction::Retention;
pub use follower::{
    FOLLOW_EVERY, FollowStatus, Follower, FollowerConfig, PageRefresher, StartError, discover,
};
pub use lease::{
    Fence, HoldError, Lease, LeaseError, LeaseKeeper, LeaseOptions, Now, Watch, Writer,
};
pub use links::{LinkError, link};
pub use purge::{TrashClock, empty_trash, remove_purged};
pub use refusals::Refusals;
pub use storage::{Storage, SyncRole};
pub use uploader::{Uploader, UploaderConfig, UploaderError, UploaderStatus};
