//! Bytes that are known already: nothing to write down, and never a reason to lose them.
//!
//! Dropped into the conversation that has them, they are a duplicate, once its stored copy was looked at. Dropped into
//! another one, or by somebody who may not read the copy that is there, they are filed there too, with the words that
//! are known. Where those are lost, they are found again from the drop. Each place has audio of its own, so that one can go without the other. Wherever the stored copy is gone
//! or damaged, the drop takes its place.

use std::fs::File;

use crate::index::{Index, IndexError, Verification};
use crate::jobs::JobContext;
use crate::jobs::publish::{self, PublishError};
use crate::jobs::recorded_at::naming_folder;
use crate::model::{Access, Conversation, Job, Object, Placement, Recipe, Recording, Talk};
use crate::publishing::content_hash::content_hash;
use crate::publishing::page_lock;
use crate::publishing::page_store::PageStore;
use crate::publishing::stores::{self, StoresError};
use crate::store::{Store, StoreError};

/// What is known of the bytes of a drop.
pub(crate) enum Known {
    /// The conversation has them, and whoever dropped them may read them there.
    Here(Box<Recording>),
    /// Another one has them, or they are somebody's own, and what was said.
    Elsewhere(Box<Told>),
    /// They lie in the trash, with what was said.
    InTrash(Box<Told>),
}

/// A recording with its words.
pub(crate) struct Told {
    pub(crate) recording: Recording,
    pub(crate) talk: Talk,
    pub(crate) recipe: Recipe,
}

/// What becomes of a drop, once the stored copy of its bytes was looked at.
pub(crate) enum Checked {
    /// Its conversation has them, and they are kept: it may go.
    Duplicate(Box<Recording>, Kept),
    /// As [`Known::Elsewhere`].
    Elsewhere(Box<Told>),
    /// As [`Known::InTrash`].
    InTrash(Box<Told>),
    /// Nobody has them, or what was said is lost: see [`wordless`].
    Unknown,
}

/// Looks the bytes up and sees to it that stored copies of them are whole.
pub(crate) fn check(
    services: &JobContext,
    dropped: DroppedFile<'_>,
) -> Result<Checked, PublishError> {
    let access = publish::access_of(dropped.file);
    loop {
        match known(services, dropped.job, access, dropped.blake3)? {
            Some(Known::Here(known)) => {
                let kept = keep_whole(services, &known, dropped)?;
                mend_others(services, &known, dropped)?;
                // That takes minutes, in which the recording may be removed, and with it what the drop would be a
                // duplicate of.
                if let Some(kept) = kept
                    && is_still_here(services, dropped, &known)?
                {
                    return Ok(match has_words(services, &known) {
                        true => Checked::Duplicate(known, kept),
                        false => Checked::Unknown,
                    });
                }
            }
            Some(Known::Elsewhere(told)) => {
                mend(services, dropped)?;
                return Ok(Checked::Elsewhere(told));
            }
            Some(Known::InTrash(told)) => {
                mend(services, dropped)?;
                return Ok(Checked::InTrash(told));
            }
            None => return Ok(Checked::Unknown),
        }
    }
}

/// The recording that the drop would be a duplicate of, and whose words are lost: it gets those of the drop.
pub(crate) fn wordless(
    services: &JobContext,
    job: &Job,
    drop: &File,
    blake3: &str,
) -> Result<Option<Recording>, PublishError> {
    let known = known(services, job, publish::access_of(drop), blake3)?;
    Ok(match known {
        Some(Known::Here(known)) if !has_words(services, &known) => Some(*known),
        Some(Known::Here(_) | Known::Elsewhere(_) | Known::InTrash(_)) | None => None,
    })
}

/// Words that cannot be read now are not lost.
fn has_words(services: &JobContext, known: &Recording) -> bool {
    let page_store = PageStore { store: services.store.as_ref(), index: &services.index };
    !matches!(page_store.read_talk(known), Ok(None))
}

fn is_still_here(
    services: &JobContext,
    dropped: DroppedFile<'_>,
    known: &Recording,
) -> Result<bool, PublishError> {
    let access = publish::access_of(dropped.file);
    let again = self::known(services, dropped.job, access, dropped.blake3)?;
    Ok(matches!(again, Some(Known::Here(it)) if (it.id, &it.audio) == (known.id, &known.audio)))
}

/// Looks the bytes up. A drop that names no conversation is at home wherever they are; in the trash nothing is at
/// home, and neither is it where its owner could not read it. `drop`: who may read what was dropped.
pub(crate) fn known(
    services: &JobContext,
    job: &Job,
    drop: Option<Access>,
    blake3: &str,
) -> Result<Option<Known>, PublishError> {
    let index = &services.index;
    let drop = drop.unwrap_or(Access { owner: None, mode: 0 });
    // One of whose rights nothing is known is for everybody.
    let lets_read = |access: Access| access.lets_read(drop);
    let may_read = |recording: &Recording| recording.overlay.access.is_none_or(lets_read);
    let (mut elsewhere, mut in_trash) = (Vec::new(), Vec::new());
    for recording in index.recordings_with_audio(blake3)? {
        // The daemon died before it could remove the drop of this very recording.
        if job.recording == Some(recording.id) {
            return Ok(Some(Known::Here(Box::new(recording))));
        }
        match index.conversation(recording.id.conversation)? {
            None => in_trash.push(recording),
            Some(_) if recording.overlay.trashed_at.is_some() => in_trash.push(recording),
            Some(conversation)
                if may_read(&recording) && is_at_home(index, job, &recording, &conversation)? =>
            {
                return Ok(Some(Known::Here(Box::new(recording))));
            }
            Some(_) => elsewhere.push(recording),
        }
    }
    let page_store = PageStore { store: services.store.as_ref(), index };
    let told = |mut recordings: Vec<Recording>| {
        recordings.sort_by_key(|recording| !may_read(recording));
        first_told(page_store, recordings).map(|mut told| {
            // Whoever cannot read it is not told either what its speakers were called.
            if !may_read(&told.recording) {
                told.recording.overlay.names.clear();
            }
            Box::new(told)
        })
    };
    let elsewhere = told(elsewhere).map(Known::Elsewhere);
    Ok(elsewhere.or_else(|| told(in_trash).map(Known::InTrash)))
}

fn is_at_home(
    index: &Index,
    job: &Job,
    recording: &Recording,
    conversation: &Conversation,
) -> Result<bool, IndexError> {
    let is_loose = naming_folder(&job.path).is_none();
    if is_loose || conversation.id == job.conversation {
        return Ok(true);
    }
    // What did not fit into a full day went on in `calls-2`.
    let Some(named) = index.conversation_named(&job.conversation)? else { return Ok(false) };
    let tail = conversation.id.as_str().strip_prefix(job.conversation.as_str());
    let is_next = tail.and_then(|tail| tail.strip_prefix('-')?.parse::<u32>().ok()).is_some();
    Ok(is_next && index.is_day_full(named.seq, recording.id.day)?)
}

/// The first one whose words can still be read. Where none can, the drop is transcribed again.
fn first_told(page_store: PageStore<'_>, recordings: Vec<Recording>) -> Option<Told> {
    recordings.into_iter().find_map(|recording| match page_store.read_talk(&recording) {
        Ok(said) => said.map(|(talk, recipe)| Told { recording, talk, recipe }),
        Err(err) => {
            log::debug!("{}: its words are not read: {err}", recording.audio.key);
            None
        }
    })
}

/// Whether the same work would be done again: what a new run would say is what was said.
pub(crate) fn is_same_work(done: &Recipe, wanted: &Recipe) -> bool {
    let said = |recipe: &Recipe| {
        let Recipe { recognizer, diarizer, language, speakers, options, .. } = recipe.clone();
        (recognizer, diarizer, language, speakers, options)
    };
    said(done) == said(wanted)
}

/// A file of the inbox whose bytes are known.
#[derive(Clone, Copy)]
pub(crate) struct DroppedFile<'a> {
    pub(crate) job: &'a Job,
    pub(crate) file: &'a File,
    /// Hexadecimal.
    pub(crate) blake3: &'a str,
    /// Asked while files are read and copied.
    pub(crate) may_go_on: &'a dyn Fn() -> bool,
}

/// What became of the stored copy of bytes that were dropped again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is whole.
    Whole,
    /// It was lost or damaged, and the drop took its place.
    PutBack,
    /// The bucket cannot say now, or cannot give it: the drop is kept on local disk too.
    Copied,
}

/// How the stored copy is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Whole,
    /// Nothing is here, and nothing of it in the bucket.
    Lost,
    /// On local disk are other bytes.
    Damaged,
    /// Nothing is here, and the bucket cannot say or give it now.
    Unknown,
}

/// Sees to it that the stored audio of a recording is there and has its bytes, which the drop has. `None`: meanwhile
/// the recording was given other keys or removed for good.
pub(crate) fn keep_whole(
    services: &JobContext,
    recording: &Recording,
    dropped: DroppedFile<'_>,
) -> Result<Option<Kept>, PublishError> {
    let found = look(services, recording, dropped.may_go_on)?;
    let kept = match found {
        Found::Whole => return Ok(Some(Kept::Whole)),
        Found::Lost | Found::Damaged => Kept::PutBack,
        Found::Unknown => Kept::Copied,
    };
    Ok(put_back(services, recording, dropped, found)?.then_some(kept))
}

/// The same for all recordings of these bytes, as far as their copies are known to be lost or damaged. A copy that
/// cannot be read now is left as it is.
pub(crate) fn mend(services: &JobContext, dropped: DroppedFile<'_>) -> Result<(), PublishError> {
    for recording in services.index.recordings_with_audio(dropped.blake3)? {
        mend_one(services, &recording, dropped)?;
    }
    Ok(())
}

/// The same but for `known`.
pub(crate) fn mend_others(
    services: &JobContext,
    known: &Recording,
    dropped: DroppedFile<'_>,
) -> Result<(), PublishError> {
    let all = services.index.recordings_with_audio(dropped.blake3)?;
    all.iter().filter(|it| it.id != known.id).try_for_each(|it| mend_one(services, it, dropped))
}

fn mend_one(
    services: &JobContext,
    recording: &Recording,
    dropped: DroppedFile<'_>,
) -> Result<(), PublishError> {
    let mended = match look(services, recording, dropped.may_go_on) {
        Ok(Found::Whole | Found::Unknown) => Ok(()),
        Ok(found) => put_back(services, recording, dropped, found).map(drop),
        Err(err) => Err(err),
    };
    match mended {
        Err(PublishError::Store(err)) => {
            log::warn!("{}: its stored copy could not be checked: {err}", recording.id);
            Ok(())
        }
        mended => mended,
    }
}

/// Puts the drop where the recording's audio belongs: over what was found to be damaged, and else where nothing is.
/// `false`: it no longer belongs there.
fn put_back(
    services: &JobContext,
    recording: &Recording,
    dropped: DroppedFile<'_>,
    found: Found,
) -> Result<bool, PublishError> {
    let DroppedFile { job, file, blake3, may_go_on } = dropped;
    let (store, audio) = (services.store.as_ref(), &recording.audio);
    let mut staged = publish::stage(services, job, file, blake3, may_go_on)?;
    let _alone = page_lock::lock();
    // It may have been renamed or removed for good meanwhile.
    let standing = services.index.filed_recording(recording.id)?;
    let Some(standing) = standing.filter(|it| it.audio == *audio) else { return Ok(false) };
    match found {
        Found::Damaged => store.put_staged(&audio.key, staged)?,
        Found::Whole | Found::Lost | Found::Unknown => {
            // Where something has come meanwhile, it is looked at by whoever asks next.
            if !store.put_staged_new(&audio.key, &mut staged)? {
                let source = "something has come to where a recording is put back".into();
                let at = audio.key.to_string();
                return Err(PublishError::Store(StoreError::Unavailable { at, source }));
            }
        }
    }
    look_in_bucket(&services.index, &standing)?;
    log::debug!("{}: restored from a drop", audio.key);
    match found {
        Found::Unknown => {
            log::info!("{}: the bucket cannot provide it now: kept on local disk", recording.id)
        }
        _ => log::warn!("{}: was lost or damaged, and is restored from a drop", recording.id),
    }
    Ok(true)
}

/// The bucket may lack it too, or may be away and have it: it is looked at when it answers.
fn look_in_bucket(index: &Index, standing: &Recording) -> Result<(), IndexError> {
    let is_there = matches!(
        standing.placement,
        Placement::Stored | Placement::PagesChanged | Placement::Paused { .. }
    );
    if is_there && index.destination()?.first_placement() != Placement::Stored {
        index.set_placement(standing.id, standing.revision, Placement::unknown())?;
    }
    Ok(())
}

/// By all bytes where it is on local disk. Where it is in the bucket only, it counts as whole if the object is the very
/// version whose bytes are known to be right and gives its first byte: a label outlives other bytes under it, and what
/// was moved to an archive cannot be read for hours. Else it is not known, and the drop is kept.
///
/// # Errors
/// A copy that cannot be read is no damaged one: reading may work the next time.
fn look(
    services: &JobContext,
    recording: &Recording,
    may_go_on: &dyn Fn() -> bool,
) -> Result<Found, PublishError> {
    let (store, audio) = (services.store.as_ref(), &recording.audio);
    if store.is_taken(audio.key.as_str())? {
        return Ok(match hash_local(store, audio, may_go_on)? {
            None => Found::Lost,
            Some(hash) if hash == audio.blake3 => Found::Whole,
            Some(_) => Found::Damaged,
        });
    }
    let facts = match store.facts(&audio.key) {
        Err(StoreError::Missing { .. }) => return Ok(Found::Lost),
        Err(StoreError::Unavailable { .. } | StoreError::Refused { .. }) => {
            return Ok(Found::Unknown);
        }
        Ok(facts) => facts,
    };
    Ok(match &facts.blake3 {
        Some(hash) if *hash == audio.blake3 && facts.bytes == audio.bytes => {
            let is_known = match services.index.verification(recording.id)? {
                Some(Verification::Same { version }) => facts.version.as_ref() == Some(&version),
                Some(Verification::Other { .. }) | None => false,
            };
            let is_whole = is_known && store.get_range(&audio.key, 0..1).is_ok();
            if is_whole { Found::Whole } else { Found::Unknown }
        }
        // The bucket has something else, and here is nothing.
        Some(_) => Found::Lost,
        None => Found::Unknown,
    })
}

/// BLAKE3 of the copy on local disk; `None` where it has gone.
fn hash_local(
    store: &dyn Store,
    audio: &Object,
    may_go_on: &dyn Fn() -> bool,
) -> Result<Option<String>, PublishError> {
    let opened = match store.open_local(&audio.key) {
        Err(StoreError::Missing { .. }) => return Ok(None),
        opened => opened?,
    };
    if let Some(file) = opened {
        let hash = content_hash(&file, may_go_on).map_err(|err| StoreError::Refused {
            at: audio.key.to_string(),
            source: Box::new(err),
        })?;
        return hash.map(Some).ok_or(PublishError::Withdrawn);
    }
    match stores::hash_local(store, audio) {
        Ok(hash) => Ok(Some(hash)),
        Err(StoresError::Store(StoreError::Missing { .. })) => Ok(None),
        Err(StoresError::Store(err)) => Err(err.into()),
        Err(StoresError::Index(err)) => Err(err.into()),
        Err(StoresError::Disk(_) | StoresError::Damaged { .. }) => Ok(None),
    }
}
