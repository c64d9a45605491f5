//! What nothing names, found and removed: what publications that were cut off have left behind, and cached
//! blocks of what is gone.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::model::Key;
use crate::pipeline::check::{self, Depth, Fault, Where};
use crate::pipeline::stock::{self, Stock, StockError};
use crate::store::BlockCache;

/// An object that no recording names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub place: Where,
    pub key: Key,
}

/// Orphans that are older than an hour. What may belong to metadata that this version cannot read is none, and
/// what is not filed by day is none of ours.
pub fn orphans(stock: Stock<'_>, now: Timestamp) -> Result<Vec<Orphan>, StockError> {
    let checked = check::check(stock, Depth::Sizes, now, &mut |_| ())?;
    let orphans = checked.findings.into_iter().filter_map(|finding| match finding.fault {
        Fault::Orphan { place } => Some(Orphan { place, key: finding.key }),
        Fault::Missing { .. }
        | Fault::Size { .. }
        | Fault::Content { .. }
        | Fault::Unindexed { .. }
        | Fault::Strange { .. } => None,
    });
    Ok(orphans.collect())
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
