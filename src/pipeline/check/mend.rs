//! What a check can mend by itself. Nothing is believed that does not have the hash that the index knows, pages that
//! neither place has are rendered again, and nothing is deleted but a damaged object of our own of which local disk
//! has the right bytes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{Key, Object, Page, PageKind, Placement, Recording, RecordingId};
use crate::pipeline::check::{Fault, Finding, Where};
use crate::pipeline::rewrite::{self, RewriteError};
use crate::pipeline::shelves::Shelves;
use crate::pipeline::stock::{self, Stock, StockError, Tiered};
use crate::pipeline::{pages_due, publish};
use crate::render;
use crate::store::{Bucket, Store, StoreError};

/// Mends what was found, if it can be mended. `false`: it cannot.
pub fn mend(stock: Stock<'_>, finding: &Finding) -> Result<bool, StockError> {
    let mended = match (&finding.fault, &finding.object) {
        (Fault::Unindexed { place }, _) => adopt(stock, *place, &finding.key),
        (Fault::Orphan { .. } | Fault::Strange { .. } | Fault::Foreign { .. }, _) | (_, None) => {
            Ok(false)
        }
        (
            Fault::Missing { place } | Fault::Size { place, .. } | Fault::Content { place },
            Some(object),
        ) => match place {
            Where::Disk => bring_back(stock, object).and_then(|is_back| match is_back {
                true => Ok(true),
                false => render_again(stock, finding),
            }),
            Where::Bucket => send_again(stock, finding),
        },
    };
    match mended {
        // One that cannot be mended keeps nobody from mending the others.
        Err(StockError::Damaged { .. } | StockError::Store(StoreError::Missing { .. })) => {
            Ok(false)
        }
        mended => mended,
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

/// Pages other than the recording itself say nothing that the json page and the index do not say.
fn render_again(stock: Stock<'_>, finding: &Finding) -> Result<bool, StockError> {
    let Some(recording) = recording_of(stock, finding)? else { return Ok(false) };
    if recording.audio.key == finding.key {
        return Ok(false);
    }
    // Another finding may have been mended with all pages of the recording, this one among them.
    if let Some(object) = object_at(stock, &recording, &finding.key)?
        && is_sound(stock, &object)?
    {
        return Ok(true);
    }
    let tiered = Tiered(stock);
    let shelves = Shelves { store: &tiered, index: stock.index };
    let written = {
        let _alone = publish::alone();
        rewrite::write_again(shelves, recording)
    };
    match written {
        Ok(()) => {}
        Err(RewriteError::Missing | RewriteError::NoTalk(_) | RewriteError::NoSpeaker(_)) => {
            return Ok(false);
        }
        Err(RewriteError::Store(err)) => return Err(err.into()),
        Err(RewriteError::Index(err)) => return Err(err.into()),
    }
    // A long day's transcript is left for later by that.
    pages_due::write_pages_due(&tiered, stock.index)?;
    let Some(recording) = recording_of(stock, finding)? else { return Ok(false) };
    let object = object_at(stock, &recording, &finding.key)?;
    object.map_or(Ok(false), |object| is_sound(stock, &object))
}

fn recording_of(stock: Stock<'_>, finding: &Finding) -> Result<Option<Recording>, StockError> {
    let id = finding.recording;
    Ok(id.map(|id| stock.index.filed_recording(id)).transpose()?.flatten())
}

/// What the index says today of a key: pages may have been rendered again since the check.
fn object_at(
    stock: Stock<'_>,
    recording: &Recording,
    key: &Key,
) -> Result<Option<Object>, StockError> {
    if let Some(object) = recording.objects().find(|object| object.key == *key) {
        return Ok(Some(object.clone()));
    }
    let RecordingId { conversation, day, .. } = recording.id;
    let transcript = stock.index.filed_transcript(conversation, day)?;
    Ok(transcript.map(|transcript| transcript.object).filter(|object| object.key == *key))
}

/// Whether local disk has the right bytes.
fn is_sound(stock: Stock<'_>, object: &Object) -> Result<bool, StockError> {
    match stock::hash_near(stock.near, object) {
        Ok(hash) => Ok(hash == object.blake3),
        Err(StockError::Store(StoreError::Missing { .. })) => Ok(false),
        Err(err) => Err(err),
    }
}

/// Puts the recording into the queue again, if local disk has the right bytes to send.
fn send_again(stock: Stock<'_>, finding: &Finding) -> Result<bool, StockError> {
    let Some(recording) = recording_of(stock, finding)? else { return Ok(false) };
    let Some(object) = object_at(stock, &recording, &finding.key)? else { return Ok(false) };
    if !is_sound(stock, &object)? {
        return Ok(false);
    }
    if let (Fault::Content { .. }, Some(far)) = (&finding.fault, stock.far) {
        remove_damaged(far, &object)?;
    }
    let is_on_its_way = recording.placement == Placement::Local;
    let Recording { id, revision, .. } = recording;
    Ok(is_on_its_way || stock.index.set_placement(id, revision, Placement::unknown())?)
}

/// Removes an object whose label says that it is ours and whose bytes are not what its label says: it would be
/// taken for the right one. Local disk has the right bytes.
fn remove_damaged(far: &dyn Bucket, object: &Object) -> Result<(), StockError> {
    let facts = match far.facts(&object.key) {
        Err(StoreError::Missing { .. }) => return Ok(()),
        facts => facts?,
    };
    if facts.is_ours && facts.blake3.as_ref() == Some(&object.blake3) {
        far.delete(&object.key)?;
    }
    Ok(())
}

/// Takes a recording that the store has and the index lacks into the index.
fn adopt(stock: Stock<'_>, place: Where, key: &Key) -> Result<bool, StockError> {
    let store = match (place, stock.far) {
        (Where::Disk, _) => stock.near,
        (Where::Bucket, Some(far)) => far as &dyn Store,
        (Where::Bucket, None) => return Ok(false),
    };
    let json = store.get_range(key, 0..u64::MAX)?;
    let Ok((mut conversation, mut recording, transcript)) = render::from_metadata_at(key, &json)
    else {
        return Ok(false);
    };
    // This index has not seen it put into the trash.
    conversation.trashed_at = conversation.trashed_at.map(|_| Timestamp::now());
    recording.pages.retain(|page| page.kind != PageKind::Metadata);
    let blake3 = blake3::hash(&json).to_hex().to_string();
    let object = Object { key: key.clone(), bytes: json.len() as u64, blake3 };
    recording.pages.push(Page { kind: PageKind::Metadata, object, written_at: None });
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
    let Ok((_, recording, transcript)) = render::from_metadata_at(metadata, &json) else {
        return Ok(None);
    };
    let others = stock::objects(&recording).filter(|object| object.key != *metadata);
    let others: Vec<&Object> = others.collect();
    if others.iter().any(|object| there.get(&object.key) != Some(&object.bytes)) {
        return Ok(None);
    }
    let keys = others.iter().map(|object| object.key.clone());
    Ok(Some(keys.chain([metadata.clone(), transcript.object.key]).collect()))
}
