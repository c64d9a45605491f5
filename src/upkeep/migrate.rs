//! Everything from the bucket to local disk, and what is left over after a move. Each step can be cut off
//! anywhere and done again: what has arrived is looked at and not fetched twice.

use jiff::Timestamp;

use crate::model::{Destination, Object, PageKind, Placement, Recording};
use crate::publishing::change_log::{BucketChange, ChangeLog};
use crate::publishing::pages_due;
use crate::publishing::stores::{self, Stores, StoresError, Tiered};
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
        brought: Result<bool, StoresError>,
    ) -> Result<(), StoresError> {
        match brought {
            Ok(brought) => self.objects += u64::from(brought),
            Err(StoresError::Damaged { .. } | StoresError::Store(StoreError::Missing { .. })) => {
                log::warn!(
                    "an object is lost or damaged in the bucket, and not on local disk; `scribefs fsck` names it"
                );
                log::debug!("{}: lost or damaged in the bucket", object.key);
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
    stores: Stores<'_>,
    remote: &dyn Bucket,
    old: Old,
    hear: &mut dyn FnMut(&Recording),
) -> Result<Moved, StoresError> {
    let mut moved = Moved::default();
    // Pages that are still to be rendered, or lie where they are staged, are not what the index says.
    let tiered = Tiered(Stores { remote: Some(remote), ..stores });
    pages_due::write_pages_due(&tiered, stores.index)?;
    stores.each_recording(&mut |recording| {
        for object in stores::objects(&recording) {
            moved.note(object, bring(stores, remote, object))?;
        }
        moved.recordings += 1;
        hear(&recording);
        Ok(())
    })?;
    stores.each_transcript(&mut |transcript| {
        moved.note(&transcript.object, bring(stores, remote, &transcript.object))
    })?;
    if moved.lost != 0 {
        return Ok(moved);
    }
    for (upload_id, key) in stores.index.uploads()? {
        remote.abort_upload(&key, &upload_id)?;
        stores.index.forget_upload(&upload_id)?;
    }
    stores.index.note_copies(Timestamp::now())?;
    stores.index.set_destination(&Destination::Here)?;
    if old == Old::Removed {
        leave_bucket(stores, remote)?;
    }
    Ok(moved)
}

/// Whether it had to be fetched. What is here with the right bytes stays as it is.
fn bring(stores: Stores<'_>, remote: &dyn Bucket, object: &Object) -> Result<bool, StoresError> {
    match stores::hash_local(stores.local, object) {
        Ok(hash) if hash == object.blake3 => return Ok(false),
        Ok(_) | Err(StoresError::Store(StoreError::Missing { .. })) => {}
        Err(err) => return Err(err),
    }
    stores.fetch(remote, object)?;
    Ok(true)
}

/// Those who follow the bucket are told.
fn leave_bucket(stores: Stores<'_>, remote: &dyn Bucket) -> Result<(), StoresError> {
    let changes = ChangeLog::default();
    stores.each_recording(&mut |recording| {
        if let Some(page) = recording.page(PageKind::Metadata) {
            let told = BucketChange::Removed(page.object.key.clone());
            changes.tell(remote, &told, &Timestamp::now)?;
        }
        let mut objects = recording.removal_order().into_iter();
        objects.try_for_each(|object| Ok(verify::remove(remote, &recording, object)?))
    })?;
    stores.each_transcript(&mut |transcript| {
        let conversation = stores.index.filed_conversation(transcript.conversation)?;
        let Some(conversation) = conversation else { return Ok(()) };
        Ok(verify::remove_transcript(remote, &conversation, &transcript.object)?)
    })
}

/// Removes local copies of audio that is in the bucket, byte by byte: each object is read and hashed before its copy
/// goes. Pages stay: they are read often and are small. What the bucket does not have stays, and is brought there by
/// the next mount; what it has damaged or in an archive stays too.
pub fn leave_disk(stores: Stores<'_>, remote: &dyn Bucket) -> Result<Moved, StoresError> {
    let mut moved = Moved::default();
    stores.each_recording(&mut |recording| {
        moved.recordings += 1;
        let (id, audio) = (recording.id, &recording.audio);
        if recording.placement != Placement::Stored {
            moved.kept += 1;
            return Ok(());
        }
        if verify::look(remote, audio)? != InBucket::Same {
            stores.index.set_placement(id, recording.revision, Placement::unknown())?;
            moved.kept += 1;
        } else if !verify::is_whole(remote, audio)? {
            log::warn!(
                "{id}: the bucket does not return the published bytes, so the local copy stays; if it has other \
                 bytes, `scribefs fsck --deep --repair` uploads the right ones"
            );
            log::debug!("{}: the bucket does not return the published bytes", audio.key);
            moved.kept += 1;
        } else {
            // In this order: a copy that the index forgot would never be cleared away.
            stores.local.delete(&audio.key)?;
            stores.index.set_evicted(id)?;
            moved.objects += 1;
        }
        Ok(())
    })?;
    Ok(moved)
}
