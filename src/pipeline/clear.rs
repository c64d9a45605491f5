//! What nothing names, found and removed: what publications that were cut off have left behind.

use jiff::Timestamp;

use crate::model::Key;
use crate::pipeline::check::{self, Depth, Fault, Where};
use crate::pipeline::stock::{Stock, StockError};

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

pub fn remove_orphan(stock: Stock<'_>, orphan: &Orphan) -> Result<(), StockError> {
    match (orphan.place, stock.far) {
        (Where::Disk, _) => stock.near.delete(&orphan.key)?,
        (Where::Bucket, Some(far)) => far.delete(&orphan.key)?,
        (Where::Bucket, None) => {}
    }
    Ok(())
}
