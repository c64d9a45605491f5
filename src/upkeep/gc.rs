//! What nothing names, found and removed: what publications that were cut off have left behind, and cached
//! blocks of what is gone.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::model::Key;
use crate::publishing::stores::{Stores, StoresError};
use crate::store::BlockCache;
use crate::upkeep::check::{self, Depth, Finding, Problem, Where};

/// An object that scribefs has put where it is, that no recording names, and of which there is another copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub place: Where,
    pub key: Key,
}

/// What lies about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// What may be removed.
    pub orphans: Vec<Orphan>,
    /// How many objects stay that no recording names, because nobody knows of another copy of them.
    pub only_copies: usize,
    /// How many objects scribefs has not put there, by place and folder. They stay.
    pub foreign: BTreeMap<(Where, String), u64>,
}

/// Orphans that are older than an hour: copies of what is kept elsewhere. What may belong to metadata that this
/// version cannot read is none, and what does not bear our mark is none of ours.
pub fn orphans(stores: Stores<'_>, now: Timestamp) -> Result<Left, StoresError> {
    let mut left = Left::default();
    check::inspect(stores, Depth::Sizes, now, &mut |_| (), &mut |finding| {
        left.note(finding);
        Ok::<_, StoresError>(())
    })?;
    Ok(left)
}

impl Left {
    fn note(&mut self, Finding { key, fault, .. }: Finding) {
        match fault {
            Problem::Orphan { place } => self.orphans.push(Orphan { place, key }),
            Problem::Foreign { place } => {
                *self.foreign.entry((place, key.parent().to_owned())).or_default() += 1;
            }
            Problem::OnlyCopy { .. } => self.only_copies += 1,
            Problem::Missing { .. }
            | Problem::Size { .. }
            | Problem::Content { .. }
            | Problem::Unindexed { .. }
            | Problem::Strange { .. } => {}
        }
    }
}

/// Removes cached blocks of objects that no recording has. Of how many objects.
pub fn clear_cache(stores: Stores<'_>, cache: &BlockCache) -> Result<u64, StoresError> {
    // The cache has a limit, and rows have none.
    let hex = |hash| blake3::Hash::from_bytes(hash).to_hex().to_string();
    let mut unknown: HashMap<String, _> =
        cache.contents().into_iter().map(|hash| (hex(hash), hash)).collect();
    stores.each_recording(&mut |recording| {
        for object in recording.objects() {
            unknown.remove(&object.blake3);
        }
        Ok(())
    })?;
    stores.each_transcript(&mut |transcript| {
        unknown.remove(&transcript.object.blake3);
        Ok(())
    })?;
    unknown.values().for_each(|hash| cache.forget(*hash));
    Ok(unknown.len() as u64)
}

pub fn remove_orphan(stores: Stores<'_>, orphan: &Orphan) -> Result<(), StoresError> {
    match (orphan.place, stores.remote) {
        (Where::Disk, _) => stores.local.delete(&orphan.key)?,
        (Where::Bucket, Some(remote)) => remote.delete(&orphan.key)?,
        (Where::Bucket, None) => {}
    }
    Ok(())
}
