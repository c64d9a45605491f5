//! A place for new audio, and the audio in it. Nothing that the index does not own is ever written over.
//!
//! The index knows which numbers and stems are free, the store knows what else lies there: recordings that a
//! rebuild has left out, files that somebody has put there, names that a disk without capitals takes for the same.
//! Where the store has something under a stem, the next stem is tried. The same bytes are no stranger: a
//! publication that was cut off has left them, or an index that was lost, and they are taken over.

use jiff::Timestamp;

use crate::index::{Claim, Index, IndexError, Reservation};
use crate::model::{Conversation, ConversationId, Day, FileName, Key, Object, Overlay, PageKind};
use crate::publishing::error::StorageError;
use crate::publishing::stores::{self, StoresError};
use crate::render;
use crate::store::{StagedFile, Store, StoreError};

/// What is to be placed.
#[derive(Clone, Copy)]
pub(crate) struct ClaimRequest<'a> {
    pub(crate) conversation: &'a ConversationId,
    pub(crate) day: Day,
    pub(crate) stem: &'a FileName,
    pub(crate) extension: &'a [u8],
    pub(crate) bytes: u64,
    /// Hexadecimal.
    pub(crate) blake3: &'a str,
}

/// Where it is now.
pub(crate) struct Claimed {
    pub(crate) conversation: Conversation,
    /// To be kept until the index has the recording.
    pub(crate) reserved: Reservation,
    pub(crate) audio: Object,
    /// What users had said about these very bytes before the index forgot them.
    pub(crate) overlay: Overlay,
}

/// Puts the audio where nothing else is: under the wanted stem, else under the next one. A day that is full goes
/// on in the next conversation: `calls`, `calls-2`, ... `staged` is the audio, which was found to be what is wanted.
pub(crate) fn claim(
    store: &dyn Store,
    index: &Index,
    wanted: ClaimRequest<'_>,
    staged: &mut StagedFile,
    now: Timestamp,
) -> Result<Claimed, StorageError> {
    for id in wanted.conversation.numbered() {
        let conversation = conversation(store, index, &id, now)?;
        let seq = conversation.seq.0;
        match claim_in(store, index, wanted, staged, conversation) {
            Err(StorageError::Index(IndexError::DayFull)) => {
                log::info!("conversation {}: its day is full; continuing in the next one", seq);
            }
            claimed => return claimed,
        }
    }
    Err(StorageError::Index(IndexError::NumbersExhausted))
}

/// Looks whether a recording of that day will find a place in the conversation of that name, or in one that goes on
/// behind it: before hours of work go into it.
pub(crate) fn find_room(
    index: &Index,
    wanted: &ConversationId,
    day: Day,
    now: Timestamp,
) -> Result<(), IndexError> {
    for id in wanted.numbered() {
        match index.conversation_named(&id)? {
            Some(conversation) if index.is_day_full(conversation.seq, day)? => {}
            Some(_) => return Ok(()),
            None => return index.filing_id(&id, now, &[]).map(drop),
        }
    }
    Err(IndexError::NumbersExhausted)
}

/// The conversation of that name. A new one is filed where the store has nothing yet.
fn conversation(
    store: &dyn Store,
    index: &Index,
    id: &ConversationId,
    now: Timestamp,
) -> Result<Conversation, StorageError> {
    let mut taken = Vec::new();
    while let Some(filed_as) = index.filing_id(id, now, &taken)? {
        if !store.is_taken(&Key::conversation_prefix(&filed_as))? {
            break;
        }
        log::warn!("the folder of a new conversation is taken by something unknown, which stays");
        log::debug!("{filed_as}/: something that the index does not know is there");
        taken.push(filed_as);
    }
    Ok(index.ensure_conversation_beside(id, now, &taken)?)
}

/// The same in a conversation that is there, in which the day may be full.
pub(crate) fn claim_in(
    store: &dyn Store,
    index: &Index,
    wanted: ClaimRequest<'_>,
    staged: &mut StagedFile,
    conversation: Conversation,
) -> Result<Claimed, StorageError> {
    let mut rejected = Vec::new();
    loop {
        let reserved =
            index.reserve_beside(conversation.seq, wanted.day, wanted.stem, &rejected)?;
        let stem = reserved.stem.as_bytes();
        let key = Key::audio(&conversation.filed_as, wanted.day, stem, wanted.extension);
        let audio = Object { key, bytes: wanted.bytes, blake3: wanted.blake3.to_owned() };
        if let Some(overlay) = put(store, index, &audio, staged)? {
            return Ok(Claimed { conversation, reserved, audio, overlay });
        }
        log::warn!(
            "{}: something unknown has its name, and stays; using the next name",
            reserved.id
        );
        log::debug!("{}: something that the index does not know is there", audio.key);
        rejected.push(reserved.stem.clone());
    }
}

/// Claims the keys and puts the audio, unless something else has one of the names that it and its pages get. What was
/// known of it.
fn put(
    store: &dyn Store,
    index: &Index,
    audio: &Object,
    staged: &mut StagedFile,
) -> Result<Option<Overlay>, StorageError> {
    let told = match told_beside(store, audio)? {
        Beside::Nothing => None,
        Beside::Ours(overlay) => Some(*overlay),
        Beside::Other => return Ok(None),
    };
    if told.is_none() && has_pages(store, audio)? && !is_same(store, audio)? {
        return Ok(None);
    }
    let new = new_keys(store, audio)?;
    let is_there = !new.contains(&audio.key);
    if is_there && !is_same(store, audio)? {
        return Ok(None);
    }
    index.claim(Claim { audio: audio.clone(), new })?;
    fail_point!("publish-claimed");
    // What has come meanwhile is nobody's that is known.
    let is_ours = is_there || store.put_staged_new(&audio.key, staged)?;
    Ok(is_ours.then(|| told.unwrap_or_default()))
}

/// Keys of the recording at which nothing is. The audio last: without it nobody knows whose the pages are.
fn new_keys(store: &dyn Store, audio: &Object) -> Result<Vec<Key>, StoreError> {
    let pages = PageKind::ALL.map(|kind| audio.key.page_beside(kind));
    let mut new = Vec::new();
    for key in pages.into_iter().chain([audio.key.clone()]) {
        if !store.is_taken(key.as_str())? {
            new.push(key);
        }
    }
    Ok(new)
}

/// Whether metadata of other bytes lies beside it.
pub(crate) fn is_of_another(store: &dyn Store, audio: &Object) -> Result<bool, StoreError> {
    Ok(matches!(told_beside(store, audio)?, Beside::Other))
}

/// Whose metadata lies where the audio's would.
enum Beside {
    Nothing,
    /// About the same bytes.
    Ours(Box<Overlay>),
    Other,
}

fn told_beside(store: &dyn Store, audio: &Object) -> Result<Beside, StoreError> {
    let key = audio.key.page_beside(PageKind::Metadata);
    if !store.is_taken(key.as_str())? {
        return Ok(Beside::Nothing);
    }
    let json = match store.get_range(&key, 0..u64::MAX) {
        // It has gone meanwhile.
        Err(StoreError::Missing { .. }) => return Ok(Beside::Nothing),
        json => json?,
    };
    Ok(match render::from_metadata(&json) {
        Ok((_, recording, _)) if recording.audio.blake3 == audio.blake3 => {
            Beside::Ours(Box::new(recording.overlay))
        }
        Ok(_) | Err(_) => Beside::Other,
    })
}

fn has_pages(store: &dyn Store, audio: &Object) -> Result<bool, StoreError> {
    for kind in PageKind::ALL {
        if store.is_taken(audio.key.page_beside(kind).as_str())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether what is there, where a put would go, has these bytes.
pub(crate) fn is_same(store: &dyn Store, audio: &Object) -> Result<bool, StoreError> {
    if !store.is_taken(audio.key.as_str())? {
        return Ok(false);
    }
    match stores::hash_local(store, audio) {
        Ok(hash) => Ok(hash == audio.blake3),
        Err(StoresError::Store(StoreError::Missing { .. })) => Ok(false),
        Err(StoresError::Store(err)) => Err(err),
        // Only stores are asked.
        Err(_) => Ok(false),
    }
}
