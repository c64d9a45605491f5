//! Whether the bucket's object is the one that the index knows: by its label, or by reading it. Never by key and
//! size, which another system's file may share.

use std::ops::ControlFlow::{self, Break, Continue};

use crate::index::Verification;
use crate::model::{Conversation, Object, ObjectVersion, Recording};
use crate::store::{Bucket, Bytes, ObjectFacts, StoreError};

/// What lies in the bucket under an object's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InBucket {
    Nothing,
    /// The object.
    Same,
    /// Something else. It stays: whoever put it there may want it.
    Other,
}

/// Looks. An object without a label is read; nobody else can know what is in it.
pub(crate) fn look(bucket: &dyn Bucket, object: &Object) -> Result<InBucket, StoreError> {
    let Some(facts) = facts(bucket, object)? else { return Ok(InBucket::Nothing) };
    Ok(if is_same(bucket, &facts, object)? { InBucket::Same } else { InBucket::Other })
}

/// What lies in the bucket under the key of a recording's audio, whatever its label says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    Nothing,
    /// The recording's bytes. The version is `None` where the bucket does not tell versions apart.
    Same(Option<ObjectVersion>),
    Other(Option<ObjectVersion>),
}

/// Proves what is there: by its version, if the bytes of that one are known, else by reading all of it. A label outlives bit
/// rot, and programs that rewrite an object keep it: before the last other copy goes, this is asked. `None`: `may_go_on`
/// said no; it is asked while bytes are read.
pub(crate) fn prove(
    bucket: &dyn Bucket,
    audio: &Object,
    known: Option<&Verification>,
    may_go_on: &dyn Fn() -> bool,
) -> Result<Option<Proof>, StoreError> {
    let Some(facts) = facts(bucket, audio)? else { return Ok(Some(Proof::Nothing)) };
    let says_other = facts.bytes != audio.bytes
        || facts.blake3.as_ref().is_some_and(|label| *label != audio.blake3);
    let is_same = !says_other
        && match (known, &facts.version) {
            (Some(Verification::Same { version }), Some(found)) if version == found => true,
            (Some(Verification::Other { version: Some(version) }), Some(found))
                if version == found =>
            {
                false
            }
            _ => {
                let go_on = |_: &Bytes| if may_go_on() { Continue(()) } else { Break(()) };
                match hash(bucket, audio, go_on)? {
                    Some(hash) => hash == audio.blake3,
                    None => return Ok(None),
                }
            }
        };
    Ok(Some(match is_same {
        true => Proof::Same(facts.version),
        false => Proof::Other(facts.version),
    }))
}

/// Whether the bucket gives its bytes at once. What was moved to an archive is there by all that a look shows, and
/// cannot be read for hours.
pub(crate) fn is_readable(bucket: &dyn Bucket, object: &Object) -> Result<bool, StoreError> {
    match bucket.get_range(&object.key, 0..1) {
        Ok(_) => Ok(true),
        Err(StoreError::Refused { .. }) => Ok(false),
        Err(err) => Err(err),
    }
}

/// Whether the bucket gives the object's very bytes, all of which are read.
pub(crate) fn is_whole(bucket: &dyn Bucket, object: &Object) -> Result<bool, StoreError> {
    match has_bytes(bucket, object) {
        Err(StoreError::Missing { .. } | StoreError::Refused { .. }) => Ok(false),
        found => found,
    }
}

/// Whether our label on a page says that it is about that recording; `None`: it does not say, as labels of older versions
/// and of others do not.
pub(crate) fn is_about(facts: &ObjectFacts, recording: &Recording) -> Option<bool> {
    let about = facts.recording.as_ref().filter(|_| facts.is_ours);
    about.map(|about| *about == recording.audio.blake3)
}

/// The same of a day's transcript and its conversation.
pub(crate) fn is_of(facts: &ObjectFacts, conversation: &Conversation) -> Option<bool> {
    let created = facts.conversation_created.as_ref().filter(|_| facts.is_ours);
    created.map(|created| *created == conversation.created_at.to_string())
}

/// Removes an object of a recording from the bucket: the one that the index knows, or a page that is about that recording
/// by its label (of which the bucket may still have an older one). What else lies there stays.
pub(crate) fn remove(
    bucket: &dyn Bucket,
    recording: &Recording,
    object: &Object,
) -> Result<(), StoreError> {
    let Some(facts) = facts(bucket, object)? else { return Ok(()) };
    let is_ours = match is_about(&facts, recording).filter(|_| object.key.is_page()) {
        Some(is_about_it) => is_about_it,
        None => is_same(bucket, &facts, object)?,
    };
    remove_if(bucket, object, is_ours)
}

/// The same of a day's transcript.
pub(crate) fn remove_transcript(
    bucket: &dyn Bucket,
    conversation: &Conversation,
    transcript: &Object,
) -> Result<(), StoreError> {
    let Some(facts) = facts(bucket, transcript)? else { return Ok(()) };
    let is_of_it = is_of(&facts, conversation) == Some(true);
    remove_if(bucket, transcript, is_of_it || is_same(bucket, &facts, transcript)?)
}

fn remove_if(bucket: &dyn Bucket, object: &Object, is_ours: bool) -> Result<(), StoreError> {
    if is_ours {
        return bucket.delete(&object.key);
    }
    log::warn!("an object in the bucket belongs to something else, and stays");
    log::debug!("{}: belongs to something else", object.key);
    Ok(())
}

fn facts(bucket: &dyn Bucket, object: &Object) -> Result<Option<ObjectFacts>, StoreError> {
    match bucket.facts(&object.key) {
        Err(StoreError::Missing { .. }) => Ok(None),
        facts => facts.map(Some),
    }
}

/// By its label; an object without one is read.
fn is_same(bucket: &dyn Bucket, facts: &ObjectFacts, object: &Object) -> Result<bool, StoreError> {
    if facts.bytes != object.bytes {
        return Ok(false);
    }
    match &facts.blake3 {
        Some(hash) => Ok(*hash == object.blake3),
        None => has_bytes(bucket, object),
    }
}

/// By all its bytes.
fn has_bytes(bucket: &dyn Bucket, object: &Object) -> Result<bool, StoreError> {
    Ok(hash(bucket, object, |_| Continue(()))?.as_ref() == Some(&object.blake3))
}

/// BLAKE3 of an object in the bucket, whose bytes `each` is given in order. `None`: that has ended it.
pub(crate) fn hash(
    bucket: &dyn Bucket,
    object: &Object,
    mut each: impl FnMut(&Bytes) -> ControlFlow<()>,
) -> Result<Option<String>, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut went = Continue(());
    bucket.stream_range(&object.key, 0..u64::MAX, &mut |bytes| {
        hasher.update(&bytes);
        went = each(&bytes);
        went
    })?;
    Ok(went.is_continue().then(|| hasher.finalize().to_hex().to_string()))
}
