//! What a bucket has that the writer's own index lacks: when the index was made anew the bucket did not answer.

use crate::index::{Index, IndexError};
use crate::pipeline::follow::reading;
use crate::pipeline::follow::survey::is_page;
use crate::store::{Bucket, StoreError};

/// Keys of one listing: what S3 answers at most.
const PAGE: usize = 1000;

/// Why it is not known yet. What was found until then is kept.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("the bucket could not be read")]
    Store(#[from] StoreError),
    #[error("the index could not be written")]
    Index(#[from] IndexError),
}

/// Files the recordings in the bucket that the index does not know, and tells who listens. How many those are.
/// What the index knows is left as it is, wherever it lies.
pub fn discover(bucket: &dyn Bucket, index: &Index) -> Result<u64, DiscoveryError> {
    let mut discovered = 0;
    let mut after = String::new();
    loop {
        let listed = bucket.list_after("", &after, PAGE)?;
        let mut unknown = Vec::new();
        for found in &listed {
            if is_page(&found.key) && index.filed_recording_at(&found.key)?.is_none() {
                unknown.push(found.key.clone());
            }
        }
        let told = reading::recordings(bucket, &unknown)?;
        discovered += told.len() as u64;
        index.follow(told)?;
        match listed.last() {
            Some(last) if listed.len() == PAGE => after = last.key.to_string(),
            _ => break,
        }
    }
    index.owe_discovery(false)?;
    Ok(discovered)
}
