//! Where a recording's objects are: beside the job's states, and after them.

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
    /// Refused in a way that trying again cannot cure: credentials, permissions, no such bucket.
    Paused { why: String },
}

/// A part of a multipart upload that the bucket has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedPart {
    pub number: u32,
    pub etag: String,
    pub bytes: u64,
}
