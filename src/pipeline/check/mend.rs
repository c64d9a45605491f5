//! What a check can mend by itself. Nothing is deleted, and nothing is believed that does not have the hash
//! that the index knows.

use std::collections::BTreeMap;

use crate::model::{Key, Object, Page, PageKind, Placement};
use crate::pipeline::check::{Fault, Finding, Where};
use crate::pipeline::stock::{self, Stock, StockError};
use crate::render;
use crate::store::{Bucket, Store, StoreError};

/// Mends what was found, if it can be mended. `false`: it cannot.
pub fn mend(stock: Stock<'_>, finding: &Finding) -> Result<bool, StockError> {
    match (&finding.fault, &finding.object) {
        (Fault::Unindexed { place }, _) => adopt(stock, *place, &finding.key),
        (Fault::Orphan { .. } | Fault::Strange { .. }, _) | (_, None) => Ok(false),
        (
            Fault::Missing { place } | Fault::Size { place, .. } | Fault::Content { place },
            Some(object),
        ) => match place {
            Where::Disk => bring_back(stock, object),
            Where::Bucket => send_again(stock, finding, object),
        },
    }
}

/// From the bucket, if that has the right bytes.
fn bring_back(stock: Stock<'_>, object: &Object) -> Result<bool, StockError> {
    let Some(far) = stock.far else { return Ok(false) };
    match stock.fetch(far, object) {
        Ok(()) => Ok(true),
        Err(StockError::Damaged { .. } | StockError::Store(StoreError::Missing { .. })) => {
            Ok(false)
        }
        Err(err) => Err(err),
    }
}

/// Puts the recording into the queue again, if local disk has the right bytes to send.
fn send_again(stock: Stock<'_>, finding: &Finding, object: &Object) -> Result<bool, StockError> {
    let Some(id) = finding.recording else { return Ok(false) };
    match stock::hash_near(stock.near, object) {
        Ok(hash) if hash == object.blake3 => {}
        Ok(_) | Err(StockError::Store(StoreError::Missing { .. })) => return Ok(false),
        Err(err) => return Err(err),
    }
    let Some(recording) = stock.index.recording(id)? else { return Ok(false) };
    // Audio of the right size would be taken for the right one.
    let is_damaged_audio =
        matches!(finding.fault, Fault::Content { .. }) && recording.audio.key == finding.key;
    let placement = if is_damaged_audio { Placement::Local } else { Placement::unknown() };
    let is_forced = recording.placement == Placement::Local;
    Ok(is_forced || stock.index.set_placement(id, recording.revision, placement)?)
}

/// Takes a recording that the store has and the index lacks into the index.
fn adopt(stock: Stock<'_>, place: Where, key: &Key) -> Result<bool, StockError> {
    let store = match (place, stock.far) {
        (Where::Disk, _) => stock.near,
        (Where::Bucket, Some(far)) => far as &dyn Store,
        (Where::Bucket, None) => return Ok(false),
    };
    let json = store.get_range(key, 0..u64::MAX)?;
    let Ok((conversation, mut recording, transcript)) = render::from_metadata(&json) else {
        return Ok(false);
    };
    recording.pages.retain(|page| page.kind != PageKind::Metadata);
    let blake3 = blake3::hash(&json).to_hex().to_string();
    let object = Object { key: key.clone(), bytes: json.len() as u64, blake3 };
    recording.pages.push(Page { kind: PageKind::Metadata, object });
    recording.placement = match place {
        Where::Disk => stock.index.destination()?.first_placement(),
        Where::Bucket => Placement::Stored,
    };
    if let (Where::Bucket, Some(far)) = (place, stock.far) {
        for page in &recording.pages {
            stock.fetch(far, &page.object)?;
        }
        bring_transcript(stock, far, &transcript.object)?;
    }
    stock.index.adopt(vec![(conversation, recording, transcript)])?;
    Ok(true)
}

/// A day's transcript may be newer than the metadata says: then the one that is there stands.
fn bring_transcript(
    stock: Stock<'_>,
    far: &dyn Bucket,
    transcript: &Object,
) -> Result<(), StockError> {
    match stock.fetch(far, transcript) {
        Ok(())
        | Err(StockError::Damaged { .. } | StockError::Store(StoreError::Missing { .. })) => Ok(()),
        Err(err) => Err(err),
    }
}

/// The keys of a recording that is there whole, by its metadata; `None` where it is not.
pub(crate) fn whole_recording<S: Store + ?Sized>(
    store: &S,
    metadata: &Key,
    there: &BTreeMap<Key, u64>,
) -> Result<Option<Vec<Key>>, StockError> {
    let json = match store.get_range(metadata, 0..u64::MAX) {
        Ok(json) => json,
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let Ok((_, recording, transcript)) = render::from_metadata(&json) else { return Ok(None) };
    let others = stock::objects(&recording).filter(|object| object.key != *metadata);
    let others: Vec<&Object> = others.collect();
    if others.iter().any(|object| there.get(&object.key) != Some(&object.bytes)) {
        return Ok(None);
    }
    let keys = others.iter().map(|object| object.key.clone());
    Ok(Some(keys.chain([metadata.clone(), transcript.object.key]).collect()))
}
