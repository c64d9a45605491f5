//! Everything from the bucket to local disk, and what is left over after a move. Each step can be cut off
//! anywhere and done again: what has arrived is looked at and not fetched twice.

use jiff::Timestamp;

use crate::model::{Destination, Object, PageKind, Placement, Recording};
use crate::publishing::change_log::{Changes, Told};
use crate::publishing::pages_due;
use crate::publishing::stores::{self, Stock, StockError, Tiered};
use crate::publishing::verify::{self, InBucket};
use crate::store::{Bucket, StoreError};

/// What becomes of the place that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    Kept,
    Removed,
}

/// What a move has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    pub recordings: u64,
    /// Objects that were fetched, or removed from the place that is left.
    pub objects: u64,
    /// Recordings whose local copy stays, because the bucket does not have them so that they can be read.
    pub kept: u64,
    /// Objects that the bucket has lost or damaged, and that are not here either.
    pub lost: u64,
}

impl Moved {
    fn note(
        &mut self,
        object: &Object,
        brought: Result<bool, StockError>,
    ) -> Result<(), StockError> {
        match brought {
            Ok(brought) => self.objects += u64::from(brought),
            Err(StockError::Damaged { .. } | StockError::Store(StoreError::Missing { .. })) => {
                log::warn!("{}: lost or damaged in the bucket, and not on local disk", object.key);
                self.lost += 1;
            }
            Err(err) => return Err(err),
        }
        Ok(())
    }
}

/// Brings everything to local disk, has the index say that it belongs there, and only then, if it is to go,
/// removes it from the bucket. `hear` is told of every recording that was looked at.
///
/// Where the bucket has lost or damaged something, everything else is brought, and belongs to the bucket as before:
/// see [`Moved::lost`].
pub fn bring_home(
    stock: Stock<'_>,
    far: &dyn Bucket,
    old: Old,
    hear: &mut dyn FnMut(&Recording),
) -> Result<Moved, StockError> {
    let mut moved = Moved::default();
    // Pages that are still to be rendered, or lie where they are staged, are not what the index says.
    let tiered = Tiered(Stock { far: Some(far), ..stock });
    pages_due::write_pages_due(&tiered, stock.index)?;
    stock.each_recording(&mut |recording| {
        for object in stores::objects(&recording) {
            moved.note(object, bring(stock, far, object))?;
        }
        moved.recordings += 1;
        hear(&recording);
        Ok(())
    })?;
    stock.each_transcript(&mut |transcript| {
        moved.note(&transcript.object, bring(stock, far, &transcript.object))
    })?;
    if moved.lost != 0 {
        return Ok(moved);
    }
    for (upload_id, key) in stock.index.uploads()? {
        far.abort_upload(&key, &upload_id)?;
        stock.index.forget_upload(&upload_id)?;
    }
    stock.index.note_copies(Timestamp::now())?;
    stock.index.settle(&Destination::Here)?;
    if old == Old::Removed {
        leave_bucket(stock, far)?;
    }
    Ok(moved)
}

/// Whether it had to be fetched. What is here with the right bytes stays as it is.
fn bring(stock: Stock<'_>, far: &dyn Bucket, object: &Object) -> Result<bool, StockError> {
    match stores::hash_near(stock.near, object) {
        Ok(hash) if hash == object.blake3 => return Ok(false),
        Ok(_) | Err(StockError::Store(StoreError::Missing { .. })) => {}
        Err(err) => return Err(err),
    }
    stock.fetch(far, object)?;
    Ok(true)
}

/// Those who follow the bucket are told.
fn leave_bucket(stock: Stock<'_>, far: &dyn Bucket) -> Result<(), StockError> {
    let changes = Changes::default();
    stock.each_recording(&mut |recording| {
        if let Some(page) = recording.page(PageKind::Metadata) {
            let told = Told::Removed(page.object.key.clone());
            changes.tell(far, &told, &Timestamp::now)?;
        }
        let mut objects = recording.removal_order().into_iter();
        objects.try_for_each(|object| Ok(verify::remove(far, &recording, object)?))
    })?;
    stock.each_transcript(&mut |transcript| {
        let conversation = stock.index.filed_conversation(transcript.conversation)?;
        let Some(conversation) = conversation else { return Ok(()) };
        Ok(verify::remove_transcript(far, &conversation, &transcript.object)?)
    })
}

/// Removes local copies of audio that is in the bucket, byte by byte: each object is read and hashed before its copy
/// goes. Pages stay: they are read often and are small. What the bucket does not have stays, and is brought there by
/// the next mount; what it has damaged or in an archive stays too.
pub fn leave_disk(stock: Stock<'_>, far: &dyn Bucket) -> Result<Moved, StockError> {
    let mut moved = Moved::default();
    stock.each_recording(&mut |recording| {
        moved.recordings += 1;
        let (id, audio) = (recording.id, &recording.audio);
        if recording.placement != Placement::Stored {
            moved.kept += 1;
            return Ok(());
        }
        if verify::look(far, audio)? != InBucket::Same {
            stock.index.set_placement(id, recording.revision, Placement::unknown())?;
            moved.kept += 1;
        } else if !verify::is_whole(far, audio)? {
            log::warn!(
                "{}: the bucket does not return the published bytes, so the local copy stays; if it has other \
                 bytes, `scribefs fsck --deep --repair` uploads the right ones",
                audio.key
            );
            moved.kept += 1;
        } else {
            // In this order: a copy that the index forgot would never be cleared away.
            stock.near.delete(&audio.key)?;
            stock.index.set_evicted(id)?;
            moved.objects += 1;
        }
        Ok(())
    })?;
    Ok(moved)
}
