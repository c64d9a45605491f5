//! What nothing names, found and removed: what publications that were cut off have left behind, and cached
//! blocks of what is gone.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use crate::model::Key;
use crate::pipeline::check::{self, Depth, Fault, Where};
use crate::pipeline::stock::{self, Stock, StockError};
use crate::store::BlockCache;

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
    pub only_copies: u64,
    /// How many objects scribefs has not put there, by place and folder. They stay.
    pub foreign: BTreeMap<(Where, String), u64>,
}

/// Orphans that are older than an hour: copies of what is kept elsewhere. What may belong to metadata that this
/// version cannot read is none, and what does not bear our mark is none of ours.
pub fn orphans(stock: Stock<'_>, now: Timestamp) -> Result<Left, StockError> {
    let checked = check::check(stock, Depth::Sizes, now, &mut |_| ())?;
    let mut left = Left::default();
    for finding in checked.findings {
        match finding.fault {
            Fault::Orphan { place } => left.orphans.push(Orphan { place, key: finding.key }),
            Fault::Foreign { place } => {
                let path = finding.key.as_str();
                let folder = path[..path.len() - finding.key.file_name().len()].to_owned();
                *left.foreign.entry((place, folder)).or_default() += 1;
            }
            Fault::OnlyCopy { .. } => left.only_copies += 1,
            Fault::Missing { .. }
            | Fault::Size { .. }
            | Fault::Content { .. }
            | Fault::Unindexed { .. }
            | Fault::Strange { .. } => {}
        }
    }
    Ok(left)
}

/// Removes cached blocks of objects that no recording has. Of how many objects.
pub fn clear_cache(stock: Stock<'_>, cache: &BlockCache) -> Result<u64, StockError> {
    let mut known: HashSet<String> = HashSet::new();
    stock.each_recording(&mut |recording| {
        known.extend(stock::objects(&recording).map(|object| object.blake3.clone()));
        Ok(())
    })?;
    stock.each_transcript(&mut |transcript| {
        known.insert(transcript.object.blake3);
        Ok(())
    })?;
    let mut contents = cache.contents();
    contents.retain(|hash| !known.contains(blake3::Hash::from_bytes(*hash).to_hex().as_str()));
    contents.iter().for_each(|hash| cache.forget(*hash));
    Ok(contents.len() as u64)
}

pub fn remove_orphan(stock: Stock<'_>, orphan: &Orphan) -> Result<(), StockError> {
    match (orphan.place, stock.far) {
        (Where::Disk, _) => stock.near.delete(&orphan.key)?,
        (Where::Bucket, Some(far)) => far.delete(&orphan.key)?,
        (Where::Bucket, None) => {}
    }
    Ok(())
}
