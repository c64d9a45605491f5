//! `.scribefs/`: what is going on, as small files that are written when they are opened.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::fs::StatusSource;
use crate::fs::errno::FsError;
use crate::index::Index;
use crate::model::{
    FileName, InboxId, Job, JobState, VirtualNode, Waiting, escaped_json, without_error_numbers,
};
use crate::spool::{Spool, SpoolError};

/// Failures that `.scribefs/errors` shows.
const SHOWN_FAILURES: usize = 100;
/// Files of the inbox that `.scribefs/status.json` lists, oldest first. It has the number of all.
const SHOWN_FILES: usize = 1000;
/// Jobs that are looked through for them.
const SEARCHED_JOBS: usize = 1000;

#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) index: Index,
    pub(crate) spool: Spool,
    pub(crate) facts: Arc<dyn StatusSource>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    /// What a file of `.scribefs` says at this moment.
    pub(crate) fn text(&self, node: VirtualNode) -> Result<Vec<u8>, FsError> {
        match node {
            VirtualNode::Status => self.status().map(pretty),
            VirtualNode::Storage => self.storage().map(pretty),
            VirtualNode::Errors => self.errors(),
            VirtualNode::Metrics => self.metrics(),
            _ => Err(FsError::BadHandle),
        }
    }

    fn status(&self) -> Result<Value, FsError> {
        let mut status = Map::new();
        status.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        status.insert("pid".into(), std::process::id().into());
        let inbox: Vec<Value> = self
            .spool
            .oldest_works(SHOWN_FILES)
            .iter()
            .map(|(dropped, work)| {
                json!({
                    "path": shown(&dropped.path),
                    "bytes": dropped.bytes,
                    "state": work.state.as_str(),
                    "progress": work.done,
                    "waits_for": self.spool.waits_for(dropped.id).map(Waiting::as_str),
                })
            })
            .collect();
        status.insert("inbox".into(), inbox.into());
        let space = self.spool.space()?;
        // Not to the last byte: what the daemon itself writes and removes makes that come and go.
        let is_full = space.blocks_available * u64::from(space.block_bytes) < 1 << 20;
        status.insert("disk_full".into(), is_full.into());
        status.insert("inbox_files".into(), self.spool.work_counts().0.into());
        let (count, first) = self.spool.left_alone();
        status.insert("left_alone".into(), count.into());
        status.insert("left_alone_first".into(), first.map(|path| shown(&path)).into());
        let jobs: Vec<Value> = self.index.unfinished_jobs()?.iter().map(job_line).collect();
        status.insert("jobs".into(), jobs.into());
        let totals = serde_json::to_value(self.index.totals()?).unwrap_or_default();
        status.insert("totals".into(), totals);
        status.extend(self.facts.status());
        Ok(status.into())
    }

    fn storage(&self) -> Result<Value, FsError> {
        let space = self.spool.space()?;
        let block = u64::from(space.block_bytes);
        let totals = self.index.totals()?;
        let mut storage = Map::new();
        storage.insert(
            "spool".into(),
            json!({
                "bytes": space.blocks * block,
                "free_bytes": space.blocks_free * block,
                "available_bytes": space.blocks_available * block,
            }),
        );
        storage.insert(
            "published".into(),
            json!({
                "recordings": totals.recordings,
                "audio_bytes": totals.audio_bytes,
                "pending": totals.pending,
                "paused": totals.paused,
            }),
        );
        storage.extend(self.facts.storage());
        Ok(storage.into())
    }

    /// What stands failed in the inbox, one JSON object a line, newest first.
    fn errors(&self) -> Result<Vec<u8>, FsError> {
        let jobs = self.index.recent_jobs(SEARCHED_JOBS)?;
        let mut seen = HashSet::new();
        // Of what is gone or was tried again since, nobody has to be told.
        let failed = jobs.iter().filter(|job| {
            let is_newest = seen.insert(&job.path);
            is_newest && job.state == JobState::Failed && self.spool.is_failed(&job.path)
        });
        let mut text = Vec::new();
        for job in failed.take(SHOWN_FAILURES) {
            text.extend_from_slice(escaped_json(&job_line(job).to_string()).as_bytes());
            text.push(b'\n');
        }
        Ok(text)
    }

    /// In the text format of Prometheus.
    fn metrics(&self) -> Result<Vec<u8>, FsError> {
        let totals = self.index.totals()?;
        let space = self.spool.space()?;
        let (inbox_files, failed_files) = self.spool.work_counts();
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, value: u64| {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "# HELP scribefs_{name} {help}\n# TYPE scribefs_{name} gauge\nscribefs_{name} {value}\n"
            );
        };
        gauge("conversations", "Conversations that are shown.", totals.conversations);
        gauge("recordings", "Recordings that are published.", totals.recordings);
        gauge("audio_bytes", "Bytes of original recordings.", totals.audio_bytes);
        gauge(
            "placement_pending",
            "Recordings that are not yet stored where they belong.",
            totals.pending,
        );
        gauge("placement_paused", "Recordings that the store refuses.", totals.paused);
        gauge("inbox_files", "Recordings in the inbox.", inbox_files as u64);
        let block = u64::from(space.block_bytes);
        gauge(
            "spool_available_bytes",
            "Bytes that can be dropped before the disk is full.",
            space.blocks_available * block,
        );
        gauge("inbox_failed_files", "Recordings that could not be used.", failed_files as u64);
        let commits = self.index.commits();
        // As above.
        let _ = write!(
            text,
            "# HELP scribefs_index_commits_total Durable commits of the index.\n\
             # TYPE scribefs_index_commits_total counter\nscribefs_index_commits_total {commits}\n"
        );
        text.push_str(&self.facts.metrics());
        Ok(text.into_bytes())
    }

    /// Lines such as `retry standup/monday.wav`, or with any name at all `retry {"path": "standup/monday.wav"}`.
    pub(crate) fn command(&self, lines: &[u8]) -> Result<(), FsError> {
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        for line in lines {
            let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
            let (verb, rest) = (line[..end].trim_ascii(), line.get(end + 1..).unwrap_or_default());
            match verb {
                b"retry" => self.spool.retry(self.find(rest)?)?,
                b"cancel" => {
                    let id = self.find(rest)?;
                    self.spool.set_attribute(id, "user.scribefs.cancel".as_ref(), b"1", 0)?;
                }
                // Only so can a test see what a fault of ours on a thread that answers the kernel leads to.
                #[cfg(debug_assertions)]
                b"panic" => panic!("somebody asked for it"),
                verb => {
                    let words = str::from_utf8(verb).ok().zip(str::from_utf8(rest).ok());
                    let (verb, rest) = words.ok_or(FsError::Invalid)?;
                    self.facts.command(verb, rest.trim())?;
                }
            }
        }
        Ok(())
    }

    /// The file at a path below the inbox, which is taken to the letter. One that begins with `inbox/`, as it is seen
    /// from the mount, is understood too.
    fn find(&self, words: &[u8]) -> Result<InboxId, FsError> {
        let quoted = serde_json::from_slice::<Quoted>(words).ok();
        let path = match &quoted {
            Some(quoted) => Path::new(&quoted.path),
            None => Path::new(OsStr::from_bytes(words)),
        };
        match (self.spool.find(path), path.strip_prefix("inbox")) {
            (Err(SpoolError::Missing), Ok(below)) => Ok(self.spool.find(below)?),
            (found, _) => Ok(found?),
        }
    }
}

/// A path that may hold what a line cannot, such as a line end.
#[derive(Deserialize)]
struct Quoted {
    path: String,
}

/// Path below the inbox, as a person reads it.
pub(crate) fn shown(path: &[FileName]) -> String {
    path.iter().map(FileName::display).collect::<Vec<_>>().join("/")
}

pub(crate) fn job_line(job: &Job) -> Value {
    let mut line = json!({
        "job": job.id.0,
        "path": shown(&job.path),
        "bytes": job.bytes,
        "state": job.state.as_str(),
        "attempts": job.attempts,
        "since": job.created_at.to_string(),
        "at": job.updated_at.to_string(),
    });
    if let (Some(failure), Some(fields)) = (&job.failure, line.as_object_mut()) {
        fields.insert("cause".into(), serde_json::to_value(failure.cause).unwrap_or_default());
        let message = without_error_numbers(&failure.message);
        fields.insert("message".into(), message.into());
        fields.insert("remedy".into(), failure.remedy.clone().into());
    }
    if let Some(remark) = &job.remark {
        line["message"] = remark.as_str().into();
    }
    line
}

fn pretty(value: Value) -> Vec<u8> {
    let mut json = escaped_json(&format!("{value:#}")).into_owned();
    json.push('\n');
    json.into_bytes()
}
