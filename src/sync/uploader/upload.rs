//! One recording on its way, and what came of carrying it.

use jiff::Timestamp;

use crate::model::{DayTranscript, ObjectVersion, Recording};
use crate::store::outbox::UploadSteps;
use crate::sync::uploader::parts_ahead::PartsAhead;
use crate::sync::uploader::throughput::Throughput;
use crate::sync::uploader::upload_error::Blame;

/// What came of it.
#[derive(Debug)]
pub(crate) enum UploadOutcome {
    Stored,
    /// It was written anew meanwhile, or is gone: its row says what is to be done.
    Overtaken,
    /// It waits, for its time or for somebody to do something. The upload goes on then.
    Waits {
        until: Timestamp,
        blame: Option<Blame>,
        why: String,
        upload: Box<Upload>,
    },
    /// The index has no room on its disk. The upload goes on when it has, without loss.
    DiskFull(Option<Box<Upload>>),
    /// The end has come first.
    Stopped,
}

/// One recording on the way. What has arrived so far is known here only: the index says enough to find out.
#[derive(Debug)]
pub(crate) struct Upload {
    /// With the placement that the index was given last.
    pub(crate) recording: Recording,
    pub(crate) transcript: DayTranscript,
    pub(crate) steps: UploadSteps,
    pub(crate) throughput: Throughput,
    pub(crate) seen: Seen,
    /// Hash of the day's text that the bucket was given.
    pub(crate) sent_transcript: Option<String>,
    /// Of the audio in the bucket, where it was sent in this upload.
    pub(crate) version: Option<ObjectVersion>,
    pub(crate) parts_ahead: PartsAhead,
}

/// What this upload has learnt of the bucket: an answer that is lost then costs one question again, not all of them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    /// There was no audio when it was looked for.
    pub(crate) lacks_audio: bool,
    /// It was sent in this upload, so its pages are not there either.
    pub(crate) is_new: bool,
    /// The page at this place of the cargo may be there.
    pub(crate) page_may_be_there: Option<usize>,
    /// What is at this place of the cargo may be written over.
    pub(crate) page_is_ours: Option<usize>,
}

impl Upload {
    /// Whether it can go on from that row.
    pub(crate) fn is_of(&self, row: &Recording) -> bool {
        self.recording == *row
    }
}
