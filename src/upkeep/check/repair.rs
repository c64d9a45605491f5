//! What a check can mend by itself. Nothing is believed that does not have the hash that the index knows, pages that
//! neither place has are rendered again, and nothing is deleted but a damaged object of our own of which local disk
//! has the right bytes.

use jiff::Timestamp;

use crate::model::{Key, Object, Page, PageKind, Placement, Recipe, Recording, RecordingId, Talk};
use crate::publishing::page_store::PageStore;
use crate::publishing::pages_due;
use crate::publishing::rewrite::{self, RewriteError};
use crate::publishing::stores::{self, StorageTarget, Stores, StoresError, Tiered};
use crate::publishing::verify::{self, InBucket};
use crate::render;
use crate::store::{Bucket, StoreError};
use crate::upkeep::captions;
use crate::upkeep::check::finding::{Finding, Problem, Where};
use crate::upkeep::salvage::{self, Rows};

/// Mends what was found, if it can be mended. `false`: it cannot.
pub fn mend(stores: Stores<'_>, finding: &Finding) -> Result<bool, StoresError> {
    let mended = match (&finding.fault, &finding.object) {
        (Problem::Unindexed { .. }, _) => adopt(stores, &finding.key),
        (
            Problem::Orphan { .. }
            | Problem::OnlyCopy { .. }
            | Problem::Strange { .. }
            | Problem::Foreign { .. },
            _,
        )
        | (_, None) => Ok(false),
        (
            Problem::Missing { place } | Problem::Size { place, .. } | Problem::Content { place },
            Some(object),
        ) => match place {
            Where::Disk => bring_back(stores, object).and_then(|is_back| match is_back {
                true => Ok(true),
                false => render_again(stores, finding),
            }),
            Where::Bucket => send_again(stores, finding),
        },
    };
    match mended {
        // One that cannot be mended keeps nobody from mending the others.
        Err(StoresError::Damaged { .. } | StoresError::Store(StoreError::Missing { .. })) => {
            Ok(false)
        }
        mended => mended,
    }
}

/// From the bucket, if that has the right bytes.
fn bring_back(stores: Stores<'_>, object: &Object) -> Result<bool, StoresError> {
    let Some(remote) = stores.remote else { return Ok(false) };
    match stores.fetch(remote, object) {
        Ok(()) => Ok(true),
        Err(StoresError::Damaged { .. } | StoresError::Store(StoreError::Missing { .. })) => {
            Ok(false)
        }
        Err(err) => Err(err),
    }
}

/// Pages other than the recording itself say nothing that the json page and the index do not say.
fn render_again(stores: Stores<'_>, finding: &Finding) -> Result<bool, StoresError> {
    let Some(recording) = recording_of(stores, finding)? else { return Ok(false) };
    if recording.audio.key == finding.key {
        return Ok(false);
    }
    // Another finding may have been mended with all pages of the recording, this one among them.
    if let Some(object) = object_at(stores, &recording, &finding.key)?
        && is_sound(stores, &object)?
    {
        return Ok(true);
    }
    let tiered = Tiered(stores);
    let page_store = PageStore { store: &tiered, index: stores.index };
    let written = match rewrite::write_again(page_store, recording.id) {
        Err(RewriteError::NoTalk(page)) => match words_in_captions(stores, page_store, &recording)?
        {
            Some(said) => rewrite::write_words(page_store, recording.id, said),
            None => Err(RewriteError::NoTalk(page)),
        },
        written => written,
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
    pages_due::write_pages_due(&tiered, stores.index)?;
    let Some(recording) = recording_of(stores, finding)? else { return Ok(false) };
    let object = object_at(stores, &recording, &finding.key)?;
    object.map_or(Ok(false), |object| is_sound(stores, &object))
}

/// What was said in a recording whose json page is lost, as far as its subtitles tell. One that is damaged stays: a person
/// may get more out of it.
fn words_in_captions(
    stores: Stores<'_>,
    page_store: PageStore<'_>,
    recording: &Recording,
) -> Result<Option<(Recipe, Talk)>, StoreError> {
    let json = recording.page(PageKind::Json).map(|page| &page.object.key);
    if json.map(|json| stores.read(json)).transpose()?.flatten().is_some() {
        return Ok(None);
    }
    let Some(page) = recording.page(PageKind::Vtt) else { return Ok(None) };
    let Some(text) = page_store.read(&page.object)? else { return Ok(None) };
    let Recording { facts, language, overlay, model, .. } = recording;
    let text = String::from_utf8_lossy(&text);
    let talk = captions::talk(&text, facts.duration, language.clone(), &overlay.names);
    let recipe = Recipe::of_model(model, language.clone());
    Ok(talk.map(|talk| (recipe, talk)))
}

fn recording_of(stores: Stores<'_>, finding: &Finding) -> Result<Option<Recording>, StoresError> {
    let id = finding.recording;
    Ok(id.map(|id| stores.index.filed_recording(id)).transpose()?.flatten())
}

/// What the index says today of a key: pages may have been rendered again since the check.
fn object_at(
    stores: Stores<'_>,
    recording: &Recording,
    key: &Key,
) -> Result<Option<Object>, StoresError> {
    if let Some(object) = recording.objects().find(|object| object.key == *key) {
        return Ok(Some(object.clone()));
    }
    let RecordingId { conversation, day, .. } = recording.id;
    let transcript = stores.index.filed_transcript(conversation, day)?;
    Ok(transcript.map(|transcript| transcript.object).filter(|object| object.key == *key))
}

/// Whether local disk has the right bytes.
fn is_sound(stores: Stores<'_>, object: &Object) -> Result<bool, StoresError> {
    match stores::hash_local(stores.local, object) {
        Ok(hash) => Ok(hash == object.blake3),
        Err(StoresError::Store(StoreError::Missing { .. })) => Ok(false),
        Err(err) => Err(err),
    }
}

/// Puts the recording into the queue again, if local disk has the right bytes to send.
fn send_again(stores: Stores<'_>, finding: &Finding) -> Result<bool, StoresError> {
    let Some(recording) = recording_of(stores, finding)? else { return Ok(false) };
    let Some(object) = object_at(stores, &recording, &finding.key)? else { return Ok(false) };
    if !is_sound(stores, &object)? {
        return Ok(false);
    }
    if let (Problem::Content { .. }, Some(remote)) = (&finding.fault, stores.remote) {
        remove_damaged(remote, &object)?;
    }
    let is_on_its_way = recording.placement == Placement::Local;
    let Recording { id, revision, .. } = recording;
    Ok(is_on_its_way || stores.index.set_placement(id, revision, Placement::unknown())?)
}

/// Removes an object whose label says that it is ours and whose bytes are not what its label says: it would be
/// taken for the right one. Local disk has the right bytes.
fn remove_damaged(remote: &dyn Bucket, object: &Object) -> Result<(), StoresError> {
    let facts = match remote.facts(&object.key) {
        Err(StoreError::Missing { .. }) => return Ok(()),
        facts => facts?,
    };
    if facts.is_ours && facts.blake3.as_ref() == Some(&object.blake3) {
        remote.delete(&object.key)?;
    }
    Ok(())
}

/// Takes a recording that is there and that the index lacks into the index: by its metadata, else by its json page.
/// What it lacks is fetched or rendered again.
fn adopt(stores: Stores<'_>, page: &Key) -> Result<bool, StoresError> {
    let rows = match page.is_metadata() {
        true => told_by_metadata(stores, page)?,
        false => salvage::rows_at(stores, page)?,
    };
    let Some((conversation, mut recording, transcript)) = rows else { return Ok(false) };
    if let Some(remote) = stores.remote {
        for page in &recording.pages {
            fetch_missing(stores, remote, &page.object)?;
        }
        bring_transcript(stores, remote, &transcript.object)?;
    }
    recording.placement = placement(stores, &recording)?;
    let has_copy = stores.home != StorageTarget::Disk
        && stores.local.is_taken(recording.audio.key.as_str())?;
    salvage::file(stores, (conversation, recording, transcript), has_copy, Timestamp::now())?;
    pages_due::write_pages_due(&Tiered(stores), stores.index)?;
    Ok(true)
}

fn told_by_metadata(stores: Stores<'_>, page: &Key) -> Result<Option<Rows>, StoresError> {
    let Some(json) = stores.read(page)? else { return Ok(None) };
    let Ok((mut conversation, mut recording, transcript)) = render::from_metadata_at(page, &json)
    else {
        return Ok(None);
    };
    // This index has not seen it put into the trash.
    let now = Timestamp::now();
    conversation.trashed_at = conversation.trashed_at.map(|_| now);
    recording.overlay.trashed_at = recording.overlay.trashed_at.map(|_| now);
    recording.pages.retain(|page| page.kind != PageKind::Metadata);
    let object = stores::object(page.clone(), &json);
    recording.pages.push(Page { kind: PageKind::Metadata, object, written_at: None });
    Ok(Some((conversation, recording, transcript)))
}

/// Where its audio is; pages follow.
fn placement(stores: Stores<'_>, recording: &Recording) -> Result<Placement, StoresError> {
    let first = stores.index.destination()?.first_placement();
    match stores.remote {
        Some(remote) if first != Placement::Stored => {
            let mut objects = recording.objects();
            let is_there = |object: &Object| Ok(verify::look(remote, object)? == InBucket::Same);
            Ok(match objects.next().map_or(Ok(false), is_there)? {
                false => first,
                true if objects
                    .map(is_there)
                    .collect::<Result<Vec<_>, StoreError>>()?
                    .contains(&false) =>
                {
                    Placement::PagesChanged
                }
                true => Placement::Stored,
            })
        }
        _ => Ok(first),
    }
}

/// A page that local disk lacks, from the bucket. One that neither has is rendered again.
fn fetch_missing(
    stores: Stores<'_>,
    remote: &dyn Bucket,
    page: &Object,
) -> Result<(), StoresError> {
    if stores.local.is_taken(page.key.as_str())? {
        return Ok(());
    }
    match stores.fetch(remote, page) {
        Err(StoresError::Store(StoreError::Missing { .. })) => Ok(()),
        fetched => fetched,
    }
}

/// A day's transcript may be newer than the metadata says: then the one that is there stands.
fn bring_transcript(
    stores: Stores<'_>,
    remote: &dyn Bucket,
    transcript: &Object,
) -> Result<(), StoresError> {
    if stores.local.is_taken(transcript.key.as_str())? {
        return Ok(());
    }
    match stores.fetch(remote, transcript) {
        Ok(())
        | Err(StoresError::Damaged { .. } | StoresError::Store(StoreError::Missing { .. })) => {
            Ok(())
        }
        Err(err) => Err(err),
    }
}
