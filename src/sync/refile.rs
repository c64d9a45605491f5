//! A recording gets another name, because the bucket has something else under the one it has.
//!
//! Its audio is put under the new key first, then pages are written for it, then the index has it there and knows
//! what is left under the old keys, and then that goes. A crash before the index leaves objects that are claimed, and are
//! taken back at the next start; after it, what is left goes then.

use crate::index::Index;
use crate::model::{Recording, causes};
use crate::publishing::claim::{self, ClaimRequest};
use crate::publishing::content_hash::content_hash;
use crate::publishing::page_store::PageStore;
use crate::publishing::rewrite::{self, RewriteError};
use crate::publishing::{day_transcript, local_removals, page_lock};
use crate::store::{StagedFile, Store, StoreError};

/// Files the recording under the next name that is free. Its number stays.
///
/// # Errors
/// `Missing`: its row is no longer this one.
pub(crate) fn refile(
    local: &dyn Store,
    page_store: PageStore<'_>,
    standing: &Recording,
) -> Result<(), RewriteError> {
    let index = page_store.index;
    let mut staged = stage(local, standing)?;
    // What may be in the bucket only is read before anybody has to wait.
    let said = rewrite::said_in(page_store, standing)?;
    let conversation =
        index.filed_conversation(standing.id.conversation)?.ok_or(RewriteError::Missing)?;
    let _ahead = day_transcript::read_ahead(page_store, &conversation, standing.id.day)?;
    let alone = page_lock::lock();
    if index.filed_recording(standing.id)?.as_ref() != Some(standing) {
        return Err(RewriteError::Missing);
    }
    let conversation =
        index.filed_conversation(standing.id.conversation)?.ok_or(RewriteError::Missing)?;
    let (stem, extension) = standing.original_name.stem_and_extension(&standing.facts.container);
    let id = conversation.id.clone();
    let wanted = ClaimRequest {
        conversation: &id,
        day: standing.id.day,
        stem: &stem,
        extension: &extension,
        bytes: standing.audio.bytes,
        blake3: &standing.audio.blake3,
    };
    let claimed = claim::claim_in(local, index, wanted, &mut staged, conversation)?;
    let moved = Recording {
        audio_name: claimed.reserved.stem.with_extension(&extension),
        stem: claimed.reserved.stem.clone(),
        audio: claimed.audio.clone(),
        pages: Vec::new(),
        ..standing.clone()
    };
    let audio = moved.audio.key.clone();
    rewrite::write_renamed(page_store, &claimed.conversation, said, moved)?;
    drop(alone);
    log::warn!(
        "{}: the bucket has something else under its name; it gets another one",
        standing.id
    );
    log::debug!("{}: uploading the recording as {audio}", standing.audio.key);
    remove_old(local, index, standing);
    Ok(())
}

/// A copy of its audio that has the right bytes.
fn stage(local: &dyn Store, standing: &Recording) -> Result<StagedFile, RewriteError> {
    let key = &standing.audio.key;
    let missing = || StoreError::Missing { key: key.clone() };
    let file = local.open_local(key)?.ok_or_else(missing)?;
    let staged = local.stage_file(&file, &|| true)?.ok_or_else(missing)?;
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Refused {
        at: key.to_string(),
        source,
    };
    let hash = content_hash(staged.file(), &|| true).map_err(|err| refused(err.into()))?;
    if hash.as_ref() != Some(&standing.audio.blake3) {
        return Err(refused("the local copy is damaged".into()).into());
    }
    Ok(staged)
}

/// What cannot be removed now stays due.
fn remove_old(local: &dyn Store, index: &Index, old: &Recording) {
    let dues = index.removals_due().unwrap_or_default();
    for due in dues.iter().filter(|due| due.recording.audio.key == old.audio.key) {
        if let Err(err) = local_removals::remove_here(local, index, due) {
            log::debug!("{}: is removed later: {}", old.audio.key, causes(&err));
        }
    }
}
