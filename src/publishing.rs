//! A published recording in the store: its audio under a key of its own, its pages, its day's transcript, and the row
//! that names them. Written in an order that can be cut off anywhere, and brought up to date when names change.
//!
//! Whoever is above publishes, syncs or checks; which bytes may take whose place is decided here.

pub(crate) mod change_log;
mod chapter_cache;
pub(crate) mod claim;
pub(crate) mod claims;
pub(crate) mod content_hash;
pub(crate) mod day_transcript;
mod error;
pub(crate) mod local_removals;
pub(crate) mod page_lock;
pub(crate) mod page_store;
pub(crate) mod pages;
pub(crate) mod pages_due;
mod pages_update;
pub(crate) mod rewrite;
pub(crate) mod staged_pages;
pub(crate) mod stores;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

pub use change_log::BucketChange;
pub use claims::take_back_claims;
pub use error::StorageError;
pub use pages_due::{Drained, write_pages_due};
pub use rewrite::{RewriteError, name_speakers};
pub use stores::{StorageTarget, Stores, StoresError};
