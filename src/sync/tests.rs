//! Local disk and a bucket that go apart and come together again.

mod discovering;
mod following;
mod identity_in_bucket;
mod links;
mod purging;
mod refiling;
mod verified;
