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
    Paused { why: String },
}

impl Placement {
    /// On its way, and nobody remembers how far: the bucket is looked at first.
    pub fn unknown() -> Self {
        Self::Uploading { upload_id: None, parts: Vec::new(), attempts: 0, not_before: None }
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
            Self::Uploading { upload_id, .. } => upload_id.as_deref(),
            Self::Local | Self::Stored | Self::PagesChanged | Self::Paused { .. } => None,
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

/// For people.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("local disk"),
            Self::Bucket { place } => f.write_str(place),
        }
    }
}

/// A part of a multipart upload that the bucket has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedPart {
    pub number: u32,
    pub etag: String,
    pub bytes: u64,
}
