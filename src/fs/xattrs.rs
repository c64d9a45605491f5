//! Extended attributes: `user.scribefs.*` of what is published; those of the inbox are the spool's.

use std::ffi::OsStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::fs::archive::conversation_of;
use crate::fs::errno::FsError;
use crate::fs::tree::Tree;
use crate::model::{FileName, Inode, Key, Node, Placement, Recording};

const STATE: &str = "user.scribefs.state";
const PLACEMENT: &str = "user.scribefs.placement";
const CONVERSATION: &str = "user.scribefs.conversation";
const DURATION: &str = "user.scribefs.duration";
const SPEAKERS: &str = "user.scribefs.speakers";
const LANGUAGE: &str = "user.scribefs.language";
const MODEL: &str = "user.scribefs.model";
const BLAKE3: &str = "user.scribefs.blake3";
/// How often the pages were written: a change of names shows here when they are.
const REVISION: &str = "user.scribefs.revision";
const MIME_TYPE: &str = "user.mime_type";

/// Only of what is in the trash: since when, and when it will be removed for good (if ever).
const TRASHED_AT: &str = "user.scribefs.trashed_at";
const REMOVED_AT: &str = "user.scribefs.removed_at";
/// Only of a recording that is in the trash by itself: where it comes back to, below `conversations/`.
const ORIGIN: &str = "user.scribefs.origin";
/// Set on a day's folder, it brings back the pages that were removed there; set on an entry of the trash, that, a
/// conversation under the name that is its value, or its own where that is empty.
const RESTORE: &str = "user.scribefs.restore";
/// Set on a published file, a conversation or an entry of the trash, it has that removed for good at once.
const PURGE: &str = "user.scribefs.purge";
/// Lets anybody get the file, so it is told to who asks for it by name and not listed: `cp -a` would copy it. With
/// a dot and a number behind it the link lasts so many seconds.
const URL: &str = "user.scribefs.url";

/// How long a link lasts where no number is given, and the longest that any bucket signs for.
const LINK_LASTS: Duration = Duration::from_hours(1);
const LONGEST_LINK: Duration = Duration::from_hours(7 * 24);

const OF_RECORDING: [&str; 10] = [
    STATE,
    PLACEMENT,
    CONVERSATION,
    DURATION,
    SPEAKERS,
    LANGUAGE,
    MODEL,
    BLAKE3,
    REVISION,
    MIME_TYPE,
];
const OF_TRANSCRIPT: [&str; 5] = [STATE, PLACEMENT, CONVERSATION, BLAKE3, MIME_TYPE];
const OF_CONVERSATION: [&str; 1] = [CONVERSATION];
const OF_TRASHED: [&str; 3] = [CONVERSATION, TRASHED_AT, REMOVED_AT];
const OF_TRASHED_RECORDING: [&str; 4] = [CONVERSATION, ORIGIN, TRASHED_AT, REMOVED_AT];

/// Only what users set is kept. Access control lists are not, and saying so at once (not "there is none")
/// lets `ls` stop asking for them, file by file.
fn is_users(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"user.")
}

impl Tree {
    pub(crate) fn label(&self, inode: Inode, name: &OsStr) -> Result<Vec<u8>, FsError> {
        if !is_users(name) {
            return Err(FsError::NoSuchAttributeSpace);
        }
        let node = Node::from_inode(inode).ok_or(FsError::Gone)?;
        if let Node::Inbox(id) = node {
            return self.spool.attribute(id, name)?.ok_or(FsError::NoAttribute);
        }
        let names = self.names_of(node)?;
        match (node, name.to_str().filter(|name| names.contains(name))) {
            (_, None) => Err(FsError::NoAttribute),
            (Node::Conversation(seq), Some(TRASHED_AT)) => {
                let trashed_at = self.archive.conversation(seq)?.trashed_at;
                Ok(trashed_at.ok_or(FsError::NoAttribute)?.to_string().into_bytes())
            }
            (Node::Conversation(seq), Some(REMOVED_AT)) => {
                self.removed_at(self.archive.conversation(seq)?.trashed_at)
            }
            (Node::Trashed(_), Some(TRASHED_AT)) => {
                let trashed_at = self.archive.recording(node)?.overlay.trashed_at;
                Ok(trashed_at.ok_or(FsError::NoAttribute)?.to_string().into_bytes())
            }
            (Node::Trashed(_), Some(REMOVED_AT)) => {
                self.removed_at(self.archive.recording(node)?.overlay.trashed_at)
            }
            (Node::Trashed(id), Some(ORIGIN)) => {
                let conversation = self.archive.conversation(id.conversation)?.id;
                let (year, month, day) = (id.day.year(), id.day.month(), id.day.day());
                let name = self.archive.recording(node)?.audio_name;
                let folder = format!("/{year:04}/{month:02}/{day:02}/");
                Ok([&conversation.name()[..], folder.as_bytes(), name.as_bytes()].concat())
            }
            (Node::Transcript(seq, day), Some(PLACEMENT)) => {
                // As far as the recording that is least far.
                let recordings = self.archive.index.filed_recordings(seq, day)?;
                let least = recordings.iter().map(|it| &it.placement);
                let least = least.min_by_key(|placement| **placement == Placement::Stored);
                Ok(placement_word(least.ok_or(FsError::NoAttribute)?).into())
            }
            (node, Some(CONVERSATION)) => {
                let seq = conversation_of(node).ok_or(FsError::NoAttribute)?;
                Ok(self.archive.conversation(seq)?.id.name())
            }
            (_, Some(STATE)) => Ok(b"done".to_vec()),
            (node, Some(BLAKE3)) => Ok(self.archive.object(node)?.blake3.into_bytes()),
            (Node::Transcript(..), Some(MIME_TYPE)) => Ok(b"text/plain".to_vec()),
            (Node::Page(_, kind), Some(MIME_TYPE)) => Ok(kind.content_type().into()),
            (node, Some(name)) => label_of(&self.archive.recording(node)?, name),
        }
    }

    /// When the time of something in the trash is over.
    fn removed_at(&self, trashed_at: Option<Timestamp>) -> Result<Vec<u8>, FsError> {
        let days = self.control.facts.trash_days().map(i64::from);
        let removed_at = trashed_at.zip(days).and_then(|(trashed_at, days)| {
            trashed_at.checked_add(SignedDuration::from_hours(24 * days)).ok()
        });
        Ok(removed_at.ok_or(FsError::NoAttribute)?.to_string().into_bytes())
    }

    fn names_of(&self, node: Node) -> Result<&'static [&'static str], FsError> {
        Ok(match node {
            Node::Audio(_) | Node::Page(..) => &OF_RECORDING,
            Node::Transcript(..) => &OF_TRANSCRIPT,
            Node::Conversation(seq) if self.archive.is_trashed(seq)? => {
                let is_for_ever = self.control.facts.trash_days().is_none();
                if is_for_ever { &OF_TRASHED[..2] } else { &OF_TRASHED }
            }
            Node::Conversation(_) => &OF_CONVERSATION,
            Node::Trashed(_) => {
                let is_for_ever = self.control.facts.trash_days().is_none();
                if is_for_ever { &OF_TRASHED_RECORDING[..3] } else { &OF_TRASHED_RECORDING }
            }
            _ => &[],
        })
    }

    pub(crate) fn labels(&self, inode: Inode) -> Result<Vec<u8>, FsError> {
        let node = Node::from_inode(inode).ok_or(FsError::Gone)?;
        let mut list = Vec::new();
        match node {
            Node::Inbox(id) => {
                for name in self.spool.attribute_names(id)? {
                    list.extend_from_slice(name.as_bytes());
                    list.push(0);
                }
            }
            node => {
                for name in self.names_of(node)? {
                    list.extend_from_slice(name.as_bytes());
                    list.push(0);
                }
            }
        }
        Ok(list)
    }

    pub(crate) fn set_label(
        &self,
        inode: Inode,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<(), FsError> {
        match Node::from_inode(inode) {
            Some(Node::Inbox(_)) if !is_users(name) => Err(FsError::NoSuchAttributeSpace),
            Some(Node::Inbox(id)) => Ok(self.spool.set_attribute(id, name, value, flags)?),
            Some(Node::Day(seq, day)) if name == RESTORE => {
                for recording in self.archive.index.filed_recordings(seq, day)? {
                    self.archive.index.show_pages(recording.id)?;
                }
                self.archive.removals.forget(seq);
                Ok(())
            }
            Some(entry) if name == RESTORE => self.restore(entry, value),
            Some(entry) if name == PURGE => self.purge(entry),
            Some(_) => Err(FsError::ReadOnly),
            None => Err(FsError::Gone),
        }
    }

    pub(crate) fn remove_label(&self, inode: Inode, name: &OsStr) -> Result<(), FsError> {
        match Node::from_inode(inode) {
            Some(Node::Inbox(_)) if !is_users(name) => Err(FsError::NoSuchAttributeSpace),
            Some(Node::Inbox(id)) => Ok(self.spool.remove_attribute(id, name)?),
            Some(_) => Err(FsError::ReadOnly),
            None => Err(FsError::Gone),
        }
    }
}

/// Links.
impl Tree {
    /// Where the bytes of a file are, if it is a link to them that is asked for, and how long that shall last.
    pub(crate) fn link_wanted(&self, inode: Inode, name: &OsStr) -> Option<(Key, Duration)> {
        let lasts = link_time(name.to_str()?)?;
        let node = Node::from_inode(inode)?;
        let is_file = matches!(node, Node::Audio(_) | Node::Page(..) | Node::Transcript(..));
        let object = is_file.then(|| self.archive.object(node).ok())?;
        object.map(|object| (object.key, lasts))
    }

    /// Who makes the link may have to ask somebody for credentials.
    pub(crate) fn link(&self, key: &Key, lasts: Duration) -> Result<Vec<u8>, FsError> {
        let link = self.control.facts.link(key, lasts);
        link.map(String::into_bytes).ok_or(FsError::NoAttribute)
    }
}

/// How long the link of that attribute lasts; `None` where the attribute is no link.
fn link_time(name: &str) -> Option<Duration> {
    match name.strip_prefix(URL)? {
        "" => Some(LINK_LASTS),
        seconds => {
            let lasts = Duration::from_secs(seconds.strip_prefix('.')?.parse().ok()?);
            (!lasts.is_zero() && lasts <= LONGEST_LINK).then_some(lasts)
        }
    }
}

fn placement_word(placement: &Placement) -> &'static str {
    match placement {
        Placement::Local => "local",
        Placement::Uploading { .. } | Placement::PagesChanged => "uploading",
        Placement::Stored => "stored",
        Placement::Paused { .. } => "paused",
    }
}

fn label_of(recording: &Recording, name: &str) -> Result<Vec<u8>, FsError> {
    let text = match name {
        PLACEMENT => placement_word(&recording.placement).to_owned(),
        DURATION => format!("{:.3}", recording.facts.duration),
        SPEAKERS => recording.speakers.to_string(),
        REVISION => recording.revision.to_string(),
        // The code for a language that is not known.
        LANGUAGE => recording.language.clone().unwrap_or_else(|| "und".to_owned()),
        MODEL => recording.model.clone(),
        MIME_TYPE => audio_type(&recording.audio_name).to_owned(),
        _ => return Err(FsError::NoAttribute),
    };
    Ok(text.into_bytes())
}

fn audio_type(name: &FileName) -> &'static str {
    match name.extension().as_str() {
        "wav" | "wave" | "bwf" | "rf64" => "audio/wav",
        "mp3" => "audio/mpeg",
        "m4a" | "m4b" | "aac" => "audio/mp4",
        "mp4" | "m4v" | "mov" => "video/mp4",
        "flac" => "audio/flac",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "aif" | "aiff" | "aifc" => "audio/aiff",
        "caf" => "audio/x-caf",
        "mkv" => "video/x-matroska",
        "mka" => "audio/x-matroska",
        "webm" => "video/webm",
        "amr" => "audio/amr",
        "wma" => "audio/x-ms-wma",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_lasts_an_hour_or_as_many_seconds_as_its_attribute_says() {
        assert_eq!(link_time("user.scribefs.url"), Some(LINK_LASTS));
        assert_eq!(link_time("user.scribefs.url.86400"), Some(Duration::from_hours(24)));
        assert_eq!(link_time("user.scribefs.url.604800"), Some(LONGEST_LINK));
        for wrong in [
            "user.scribefs.url.604801",
            "user.scribefs.url.0",
            "user.scribefs.url.",
            "user.scribefs.urls",
        ] {
            assert_eq!(link_time(wrong), None, "{wrong}");
        }
    }
}
