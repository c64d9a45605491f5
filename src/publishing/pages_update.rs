//! Brings the pages of a conversation, a recording or a day up to date, once. `true`: nothing of it is due any more.
//!
//! What may have to come from the bucket is read first; then nobody else writes pages for as long as it takes to write
//! these.

use jiff::Timestamp;

use crate::index::{DayText, PageWork, PagesDue};
use crate::model::{Conversation, ConversationSeq, Day, PageKind, Recording, RecordingId, causes};
use crate::publishing::page_store::PageStore;
use crate::publishing::rewrite::{self, RewriteError};
use crate::publishing::{day_transcript, page_lock, pages};
use crate::render;
use crate::store::StoreError;

/// Every recording's metadata repeats what its conversation is called, and whether it is in the trash.
pub(crate) fn conversation(
    page_store: PageStore<'_>,
    seq: ConversationSeq,
) -> Result<bool, RewriteError> {
    let index = page_store.index;
    let days = index.filed_days(seq)?;
    // First, since recordings that are done are passed over when this is done again.
    index.owe_pages(days.iter().map(|day| PagesDue::Day(seq, *day)).collect())?;
    let mut is_done = true;
    fail_point!("rename-before-pages");
    for day in days {
        for recording in index.filed_recordings(seq, day)? {
            let conversation = index.filed_conversation(seq)?.ok_or(RewriteError::Missing)?;
            // Names may have been given while we waited.
            let Some(recording) = index.filed_recording(recording.id)? else { continue };
            if follows(page_store, &conversation, &recording)? {
                continue;
            }
            match rewrite::write_pages_again(page_store, recording.id) {
                Ok(()) | Err(RewriteError::Missing) => {}
                Err(err @ RewriteError::NoTalk(_)) => warn_of(&err),
                Err(RewriteError::Store(err)) => {
                    log::debug!("conversation {}: a page stays due: {}", seq.0, causes(&err));
                    is_done = false;
                }
                Err(err) => return Err(err),
            }
        }
    }
    Ok(is_done)
}

/// Whether the metadata of a recording says of its conversation what the index says.
fn follows(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    recording: &Recording,
) -> Result<bool, StoreError> {
    let Some(page) = recording.page(PageKind::Metadata) else { return Ok(false) };
    let Some(json) = page_store.read(&page.object)? else { return Ok(false) };
    Ok(render::from_metadata(&json).is_ok_and(|(told, ..)| told == *conversation))
}

/// Pages that are where the index says, whole, are left alone.
pub(crate) fn recording(
    page_store: PageStore<'_>,
    id: RecordingId,
    work: PageWork,
) -> Result<bool, RewriteError> {
    let row = || -> Result<Recording, RewriteError> {
        page_store.index.filed_recording(id)?.ok_or(RewriteError::Missing)
    };
    if work == PageWork::Install {
        let installed = {
            let _alone = page_lock::lock();
            let recording = row()?;
            pages::install(page_store, &recording, None)?;
            recording
        };
        // Whoever has written them anew since has noted that they are due once more.
        if is_whole(page_store, &installed)? || row()? != installed {
            return Ok(true);
        }
    }
    match rewrite::write_pages_again(page_store, id) {
        // Another entry says that they are to be installed, and that is done next.
        Ok(()) => Ok(true),
        Err(err @ RewriteError::NoTalk(_)) => {
            warn_of(&err);
            Ok(true)
        }
        Err(err) => Err(err),
    }
}

fn is_whole(page_store: PageStore<'_>, recording: &Recording) -> Result<bool, StoreError> {
    for page in &recording.pages {
        if page_store.read(&page.object)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) fn day(
    page_store: PageStore<'_>,
    seq: ConversationSeq,
    day: Day,
    work: PageWork,
) -> Result<bool, RewriteError> {
    let index = page_store.index;
    if work == PageWork::Install {
        let standing = {
            let _alone = page_lock::lock();
            let standing = index.filed_transcript(seq, day)?;
            standing.iter().try_for_each(|standing| page_store.install(&standing.object))?;
            standing
        };
        if let Some(standing) = standing
            && page_store.read(&standing.object)?.is_some()
        {
            return Ok(true);
        }
    }
    let conversation = index.filed_conversation(seq)?.ok_or(RewriteError::Missing)?;
    let _ahead = day_transcript::read_ahead(page_store, &conversation, day)?;
    let _alone = page_lock::lock();
    let conversation = index.filed_conversation(seq)?.ok_or(RewriteError::Missing)?;
    let standing = index.filed_transcript(seq, day)?;
    let text = pages::stage_transcript(page_store, &conversation, day, None, Timestamp::now())?;
    let is_complete = matches!(text, DayText::Written(_));
    let Some(transcript) = text.transcript().cloned() else { return Ok(true) };
    if standing.as_ref() != Some(&transcript) {
        index.set_transcript(text)?;
    }
    page_store.install(&transcript.object)?;
    Ok(is_complete)
}

/// Only a person can do something about it.
fn warn_of(err: &RewriteError) {
    log::warn!("{err}: `scribefs fsck` says what you can do");
}
