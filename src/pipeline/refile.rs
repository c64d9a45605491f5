//! A recording gets another name, because the bucket has something else under the one it has.
//!
//! Its audio is put under the new key first, then pages are written for it, then the index has it there, and then
//! the old objects go from local disk. A crash in between leaves objects that nothing names, for `gc`.

use crate::index::{Index, IndexError};
use crate::model::Recording;
use crate::pipeline::claim::{self, Wanted};
use crate::pipeline::publish::PublishError;
use crate::pipeline::rewrite::{self, RewriteError};
use crate::pipeline::shelves::Shelves;
use crate::store::{Store, StoreError};

/// Files the recording under the next name that is free. Its number stays. The caller is
/// [`alone`](crate::pipeline::publish::alone).
pub(crate) fn refile(
    near: &dyn Store,
    shelves: Shelves<'_>,
    standing: &Recording,
) -> Result<(), RewriteError> {
    let index = shelves.index;
    let conversation =
        index.filed_conversation(standing.id.conversation)?.ok_or(RewriteError::Missing)?;
    let file = near.open_local(&standing.audio.key)?.ok_or_else(|| {
        RewriteError::Store(StoreError::Missing { key: standing.audio.key.clone() })
    })?;
    let (stem, extension) = standing.original_name.stem_and_extension(&standing.facts.container);
    let id = conversation.id.clone();
    let wanted = Wanted {
        conversation: &id,
        day: standing.id.day,
        stem: &stem,
        extension: &extension,
        bytes: standing.audio.bytes,
        blake3: &standing.audio.blake3,
        recording: &file,
    };
    let claimed = claim::claim_in(near, index, wanted, conversation).map_err(as_rewrite)?;
    let moved = Recording {
        audio_name: claimed.reserved.stem.with_extension(&extension),
        stem: claimed.reserved.stem.clone(),
        audio: claimed.audio.clone(),
        pages: Vec::new(),
        ..standing.clone()
    };
    let audio = moved.audio.key.clone();
    rewrite::write_renamed(shelves, &claimed.conversation, standing, moved)?;
    log::warn!(
        "{}: the bucket has something else under this name; the recording goes there as {}",
        standing.audio.key,
        audio
    );
    remove_old(near, index, standing)
}

fn remove_old(near: &dyn Store, index: &Index, old: &Recording) -> Result<(), RewriteError> {
    index.set_evicted(old.id)?;
    for object in old.objects() {
        near.delete(&object.key)?;
    }
    Ok(())
}

fn as_rewrite(err: PublishError) -> RewriteError {
    match err {
        PublishError::Store(err) => RewriteError::Store(err),
        PublishError::Index(err) => RewriteError::Index(err),
        PublishError::Withdrawn => RewriteError::Index(IndexError::NoConversation),
    }
}
