//! The parts of large audio on their way: one after the other on a slow line, several at once on a quick one.
//!
//! The state machine knows of one part at a time. What was sent ahead of it is remembered until its turn comes, and is sent again
//! if the process dies before.

use std::ops::Range;
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use crate::model::UploadedPart;
use crate::store::Bytes;
use crate::store::outbox::Event;
use crate::sync::uploader::memory_budget::Reserved;
use crate::sync::uploader::upload::Upload;
use crate::sync::uploader::upload_error::UploadError;
use crate::sync::uploader::upload_worker::{UploadWorker, upload_fault};

/// A part that goes now.
struct Piece<'a> {
    number: u32,
    bytes: Bytes,
    _room: Reserved<'a>,
}

type Sent = (Result<UploadedPart, UploadError>, Duration);

impl UploadWorker<'_> {
    /// Sends a part, and with it some of those behind it.
    pub(crate) fn put_part(
        &self,
        upload: &mut Upload,
        upload_id: &str,
        number: u32,
        range: Range<u64>,
    ) -> Result<Event, UploadError> {
        if let Some(part) = upload.parts_ahead.take(upload_id, number) {
            return Ok(Event::PartDone(part));
        }
        let pieces = self.pieces(upload, number, range)?;
        let mut all = self.send(upload, upload_id, pieces).into_iter();
        let Some((first, took)) = all.next() else { return Err(UploadError::Overtaken) };
        let mut slowest = first.is_ok().then_some(took);
        for (sent, took) in all {
            slowest = slowest.filter(|_| sent.is_ok()).map(|slowest| slowest.max(took));
            // What has failed is sent when its turn comes, and what comes of it is told then.
            sent.into_iter().for_each(|part| upload.parts_ahead.add(part));
        }
        upload.parts_ahead.adapt(slowest);
        first.map(Event::PartDone)
    }

    /// The bytes of the part and of those behind it that go at once, as far as there is room for them.
    fn pieces<'a>(
        &'a self,
        upload: &mut Upload,
        first: u32,
        range: Range<u64>,
    ) -> Result<Vec<Piece<'a>>, UploadError> {
        let audio = &upload.recording.audio;
        let part_bytes = range.end - range.start;
        let mut pieces = Vec::new();
        let (mut number, mut start) = (first, range.start);
        while start < audio.bytes && pieces.len() < upload.parts_ahead.at_once {
            let end = audio.bytes.min(start.saturating_add(part_bytes));
            let room = match pieces.is_empty() {
                true => Some(self.budget.reserve(end - start)),
                false => self.budget.try_reserve(end - start),
            };
            let Some(_room) = room.filter(|_| !upload.parts_ahead.has(number)) else { break };
            let bytes = self.read(audio, start, end)?;
            let read = |from, to| self.read(audio, from, to);
            upload.throughput.add_part(start, &bytes, read)?;
            pieces.push(Piece { number, bytes, _room });
            (number, start) = (number + 1, end);
        }
        Ok(pieces)
    }

    /// How each of them went, and how long it took.
    fn send(&self, upload: &Upload, upload_id: &str, pieces: Vec<Piece<'_>>) -> Vec<Sent> {
        let (bucket, rate_limit, key) = (self.bucket, self.rate_limit, &upload.recording.audio.key);
        let send = |Piece { number, bytes, _room }: Piece<'_>| {
            rate_limit.take(bytes.len() as u64);
            let begun = Instant::now();
            let sent = bucket.put_part(key, upload_id, number, bytes);
            (sent.map_err(upload_fault), begun.elapsed())
        };
        let mut pieces = pieces.into_iter();
        let first = pieces.next();
        thread::scope(|scope| {
            let mut behind = Vec::new();
            for piece in pieces {
                let name = format!("part-{}", piece.number);
                // One that cannot be started goes when its turn comes.
                behind.extend(Builder::new().name(name).spawn_scoped(scope, || send(piece)).ok());
            }
            let first = first.map(send);
            let behind = behind.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            first.into_iter().chain(behind).collect()
        })
    }
}
