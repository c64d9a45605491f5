//! Where a recording's objects are: beside the job's states, and after them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a recording is on its way to where the configuration wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Placement {
    /// On local disk, durable, and not yet anywhere else.
    Local,
    /// On its way into the bucket. What is done so far is enough to go on after a crash.
    Uploading {
        /// Of the multipart upload of the audio, committed before the first part is sent.
        upload_id: Option<String>,
        parts: Vec<UploadedPart>,
        attempts: u32,
        /// When to try again.
        not_before: Option<Timestamp>,
    },
    /// In the place that the configuration wants, complete and checked.
    Stored,
    /// The audio is where it belongs; pages were written anew on local disk and are to follow.
    PagesChanged,
    /// Refused in a way that trying again cannot cure: credentials, permissions, no such bucket.
    Paused {
        why: String,
        /// The upload that was refused in the middle goes on where it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upload_id: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<UploadedPart>,
        /// The local copy is not what was published. It is left alone while it is this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        damaged: Option<Fingerprint>,
    },
}

/// Tells a local file from what it was before, without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub bytes: u64,
    pub modified_at: Option<Timestamp>,
}

impl Placement {
    /// On its way, and nobody remembers how far: the bucket is looked at first.
    pub fn unknown() -> Self {
        Self::Uploading { upload_id: None, parts: Vec::new(), attempts: 0, not_before: None }
    }

    /// Refused, with nothing on its way.
    pub fn paused(why: impl Into<String>) -> Self {
        Self::Paused { why: why.into(), upload_id: None, parts: Vec::new(), damaged: None }
    }

    /// What it becomes when pages are written anew: an upload of the audio goes on as it was.
    #[must_use]
    pub fn rewritten(self) -> Self {
        match self {
            Self::Stored => Self::PagesChanged,
            other => other,
        }
    }

    /// The multipart upload that is not completed yet.
    pub fn upload_id(&self) -> Option<&str> {
        match self {
            Self::Uploading { upload_id, .. } | Self::Paused { upload_id, .. } => {
                upload_id.as_deref()
            }
            Self::Local | Self::Stored | Self::PagesChanged => None,
        }
    }
}

/// Where the configuration wants recordings to be in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "destination")]
pub enum Destination {
    /// On local disk, where they are published.
    Here,
    /// In a bucket, named by `place` so that another one is told from it.
    Bucket { place: String },
}

impl Destination {
    /// What a recording begins with that has just been published on local disk.
    pub fn first_placement(&self) -> Placement {
        match self {
            Self::Here => Placement::Stored,
            Self::Bucket { .. } => Placement::Local,
        }
    }
}

/// What a state folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateRole {
    /// Recordings are published here. They may be nowhere else.
    Writer,
    /// Another machine's bucket is followed: all that is here is a copy.
    Follower,
}

/// For people.
impl fmt::Display for StateRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writer => "one that recordings are published in",
            Self::Follower => "one that follows a bucket",
        })
    }
}

/// The bucket that a state folder belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPlace {
    /// As the settings name it.
    pub name: String,
    /// The random id that is kept in the bucket, below the prefix. `None`: not known yet.
    pub id: Option<String>,
}

/// For people.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("local disk"),
            Self::Bucket { place } => f.write_str(place),
        }
    }
}

/// Which version of an object a bucket has: whoever puts other bytes there, whatever their label, makes another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectVersion {
    /// Without its quotes.
    etag: String,
    /// Where the bucket keeps old versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version_id: Option<String>,
}

impl ObjectVersion {
    /// `None`: the entity tag is empty or a weak one, which different bytes may share.
    pub fn new(etag: &str, version_id: Option<String>) -> Option<Self> {
        let etag = etag.replace("&quot;", "\"");
        let etag = etag.trim_matches('"');
        let is_strong = !etag.is_empty() && !etag.starts_with("W/");
        // What is there in a bucket that keeps no old versions; some servers say so now and then only.
        let version_id = version_id.filter(|id| id != "null");
        is_strong.then(|| Self { etag: etag.to_owned(), version_id })
    }
}

/// A part of a multipart upload that the bucket has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedPart {
    pub number: u32,
    pub etag: String,
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_is_the_same_however_it_is_quoted_and_a_weak_one_is_none() {
        let version = |etag| ObjectVersion::new(etag, None);
        assert_eq!(version("\"abc-2\""), version("abc-2"));
        assert_eq!(version("&quot;abc-2&quot;"), version("abc-2"));
        let with_id = |id: &str| ObjectVersion::new("abc-2", Some(id.to_owned()));
        assert_ne!(version("abc-2"), with_id("1"));
        assert_eq!(version("abc-2"), with_id("null"));
        assert_eq!([version("W/\"abc\""), version("\"\""), version("")], [None, None, None]);
    }
}
