//! One writer for each bucket: who it is stands in a small object there, renewed while it lives.
//!
//! Two machines that write to one prefix would each keep an index that knows nothing of the other's
//! recordings. The lease is renewed by a thread of its own ([`keeper`]), valid by the clock that goes on in
//! suspend, and looked at before every change to the bucket ([`fence`]). Whoever waits for it watches its
//! version ([`watch`]): the clock of the other machine proves nothing.

mod claim;
mod fence;
mod keeper;
mod watch;
mod writer;

pub use crate::sync::lease::claim::{Lease, LeaseError, Now};
pub use crate::sync::lease::fence::Fence;
pub use crate::sync::lease::keeper::{HoldError, LeaseKeeper, LeaseOptions};
pub use crate::sync::lease::watch::Watch;
pub use crate::sync::lease::writer::Writer;

pub(crate) use crate::sync::lease::keeper::NotHeld;
