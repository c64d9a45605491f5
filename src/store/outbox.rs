//! What to do next to get a recording into the bucket. Pure: time and chance are handed in, and whoever
//! carries an action out says how it went.
//!
//! Order: audio, then pages and the day's transcript, then the metadata that names them all. A bucket that
//! has the metadata therefore has everything. The one rule for the caller: when the placement has changed,
//! it is durable in the index before the action is carried out. Then a process that dies anywhere goes on
//! where it was, and an upload that has an id is never forgotten.

use std::ops::Range;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::{
    DayTranscript, Fingerprint, Object, PageKind, Placement, Recording, UploadedPart,
};
use crate::store::backoff::Backoff;

/// Objects up to this size go in one request; larger audio goes in parts of it, the smallest that S3 takes: a request has
/// [`LONGEST_CHANGE`](crate::store::LONGEST_CHANGE), so a line needs 40 KiB/s for each that is under way.
pub const SINGLE_PUT_BYTES: u64 = 5 << 20;

/// Longest time to wait after a failure that time can cure.
const LONGEST_DELAY: Duration = Duration::from_mins(5);

/// After failures that time can cure.
pub(crate) const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), LONGEST_DELAY);

/// A refusal is tried again too, in case somebody has mended it: this often.
const PROBE_DELAY: Duration = Duration::from_mins(5);

/// S3 takes at most 10,000 parts.
const MOST_PARTS: u64 = 9_000;

/// How large objects are taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Audio up to this size goes in one request.
    pub single_put_bytes: u64,
    /// The smallest part; S3 takes no less than 5 MiB, but for the last one.
    pub part_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { single_put_bytes: SINGLE_PUT_BYTES, part_bytes: SINGLE_PUT_BYTES }
    }
}

/// All objects of a recording, in the order in which they are to arrive.
pub fn cargo<'a>(recording: &'a Recording, transcript: &'a DayTranscript) -> Vec<&'a Object> {
    let (last, pages): (Vec<_>, Vec<_>) =
        recording.pages.iter().partition(|page| page.kind == PageKind::Metadata);
    let pages = pages.into_iter().map(|page| &page.object);
    let last = last.into_iter().map(|page| &page.object);
    std::iter::once(&recording.audio)
        .chain(pages)
        .chain(std::iter::once(&transcript.object))
        .chain(last)
        .collect()
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look whether the bucket has the audio: `Found` or `NotFound`.
    LookForAudio,
    /// Begin an upload of the audio in parts: `Began`.
    Begin,
    /// Send these bytes of the audio: `PartDone`.
    PutPart { upload_id: String, number: u32, range: Range<u64> },
    /// Make the parts one object: `Completed`.
    Complete { upload_id: String, parts: Vec<UploadedPart> },
    /// Put the object at this place of the cargo in one request: `PutDone`.
    Put { place: usize },
    /// Nothing before then: `Woken`.
    Wait { until: Timestamp },
    /// Everything has arrived.
    Rest,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// At the start, and when the time to wait for has come.
    Woken,
    /// The bucket answers again, or somebody asks for a try: whatever it waits for, it goes on now.
    Called,
    Found,
    NotFound,
    Began {
        upload_id: String,
    },
    PartDone(UploadedPart),
    Completed,
    PutDone,
    Failed(Trouble),
}

/// What kind of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Time can cure it: no answer, no connection, throttled, the bucket's own fault.
    Passing,
    /// The bucket knows no such upload: it has ended without us hearing of it, or was swept.
    UploadLost,
    /// Somebody has to do something: credentials, permissions, no such bucket, a file that is gone.
    Refused { why: String },
    /// The local copy is not what was published. Sending it again is of no use before it has changed.
    Damaged { why: String, copy: Fingerprint },
}

/// One recording on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSteps {
    placement: Placement,
    /// Bytes of each object of the cargo. The first is the audio.
    cargo: Vec<u64>,
    sizes: Sizes,
    /// Objects that have arrived for sure.
    arrived: usize,
    /// The audio may be in the bucket without us knowing.
    audio_may_be_there: bool,
}

impl UploadSteps {
    /// Goes on from `placement` with a cargo of objects that have these many bytes.
    pub fn new(placement: Placement, cargo: Vec<u64>, sizes: Sizes) -> Self {
        let audio_may_be_there = placement != Placement::Local;
        let arrived = usize::from(placement == Placement::PagesChanged);
        Self { placement, cargo, sizes, arrived, audio_may_be_there }
    }

    /// To be durable before the action is carried out.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Takes note of what has happened and says what to do next. `chance` is anything from 0 to 1 and
    /// spreads out those who wait for the same bucket.
    pub fn step(&mut self, event: Event, now: Timestamp, chance: f64) -> Action {
        match event {
            Event::Failed(Trouble::Refused { why }) => {
                let (upload_id, parts) = self.take_upload();
                self.placement = Placement::Paused { why, upload_id, parts, damaged: None };
                return Action::Wait { until: later(now, PROBE_DELAY) };
            }
            Event::Failed(Trouble::Damaged { why, copy }) => {
                // What was sent is damaged too.
                self.placement = Placement::Paused {
                    why,
                    upload_id: None,
                    parts: Vec::new(),
                    damaged: Some(copy),
                };
                return Action::Wait { until: later(now, PROBE_DELAY) };
            }
            Event::Failed(Trouble::UploadLost) => {
                self.forget_upload();
                self.audio_may_be_there = true;
                self.put_off(now, chance);
            }
            Event::Failed(Trouble::Passing) => {
                // What goes in one request may have arrived, and nobody heard of it.
                self.audio_may_be_there |= self.audio_is_small();
                self.put_off(now, chance);
            }
            Event::Woken => self.wake(now),
            Event::Called => self.call(),
            Event::Found if self.arrived == 0 => self.arrive(),
            Event::NotFound => self.audio_may_be_there = false,
            Event::Began { upload_id } => self.begin(upload_id),
            Event::PartDone(part) => self.add(part),
            Event::Completed if self.arrived == 0 => self.arrive(),
            Event::PutDone if self.arrived < self.cargo.len() => self.arrive(),
            // Said twice: the answer to a request that was sent again.
            Event::Found | Event::Completed | Event::PutDone => {}
        }
        self.next(now)
    }

    fn next(&mut self, now: Timestamp) -> Action {
        if let Placement::Local | Placement::PagesChanged = self.placement {
            self.placement = Placement::unknown();
        }
        let Placement::Uploading { upload_id, parts, not_before, .. } = &self.placement else {
            return match self.placement {
                Placement::Paused { .. } => Action::Wait { until: later(now, PROBE_DELAY) },
                _ => Action::Rest,
            };
        };
        if let Some(until) = *not_before
            && now < until
        {
            return Action::Wait { until };
        }
        match self.cargo.get(self.arrived) {
            None => {
                self.placement = Placement::Stored;
                Action::Rest
            }
            Some(_) if 0 < self.arrived => Action::Put { place: self.arrived },
            Some(size) => match upload_id {
                Some(upload_id) => next_of_upload(upload_id, parts, *size, self.sizes.part_bytes),
                None if self.audio_may_be_there => Action::LookForAudio,
                None if *size <= self.sizes.single_put_bytes => Action::Put { place: 0 },
                None => Action::Begin,
            },
        }
    }

    fn audio_is_small(&self) -> bool {
        self.cargo.first().is_some_and(|size| *size <= self.sizes.single_put_bytes)
    }

    fn wake(&mut self, now: Timestamp) {
        match &mut self.placement {
            Placement::Paused { .. } => self.resume(),
            // A clock that was set back must not keep us waiting for longer than we would ever wait.
            Placement::Uploading { not_before, .. } => {
                *not_before = not_before.filter(|until| *until <= later(now, LONGEST_DELAY));
            }
            Placement::Local | Placement::PagesChanged | Placement::Stored => {}
        }
    }

    fn call(&mut self) {
        match &mut self.placement {
            Placement::Paused { .. } => self.resume(),
            Placement::Uploading { not_before, .. } => *not_before = None,
            Placement::Local | Placement::PagesChanged | Placement::Stored => {}
        }
    }

    /// An upload that was refused goes on; else the audio may have arrived without us knowing.
    fn resume(&mut self) {
        let (upload_id, parts) = self.take_upload();
        self.placement = Placement::Uploading { upload_id, parts, attempts: 0, not_before: None };
        self.audio_may_be_there = true;
    }

    fn take_upload(&mut self) -> (Option<String>, Vec<UploadedPart>) {
        match &mut self.placement {
            Placement::Uploading { upload_id, parts, .. }
            | Placement::Paused { upload_id, parts, .. } => {
                (upload_id.take(), std::mem::take(parts))
            }
            Placement::Local | Placement::Stored | Placement::PagesChanged => (None, Vec::new()),
        }
    }

    fn begin(&mut self, id: String) {
        if let Placement::Uploading { upload_id, parts, .. } = &mut self.placement {
            *upload_id = Some(id);
            parts.clear();
        }
    }

    /// Parts are sent one after the other; another one's answer is one that we have had.
    fn add(&mut self, part: UploadedPart) {
        if let Placement::Uploading { upload_id: Some(_), parts, attempts, not_before } =
            &mut self.placement
            && part.number == next_number(parts)
        {
            parts.push(part);
            *attempts = 0;
            *not_before = None;
        }
    }

    fn arrive(&mut self) {
        self.arrived += 1;
        self.forget_upload();
        if let Placement::Uploading { attempts, not_before, .. } = &mut self.placement {
            *attempts = 0;
            *not_before = None;
        }
    }

    fn forget_upload(&mut self) {
        if let Placement::Uploading { upload_id, parts, .. } = &mut self.placement {
            *upload_id = None;
            parts.clear();
        }
    }

    fn put_off(&mut self, now: Timestamp, chance: f64) {
        if let Placement::Uploading { attempts, not_before, .. } = &mut self.placement {
            *attempts = attempts.saturating_add(1);
            *not_before = Some(later(now, BACKOFF.delay(*attempts, chance)));
        }
    }
}

fn next_of_upload(
    upload_id: &str,
    parts: &[UploadedPart],
    size: u64,
    smallest_part: u64,
) -> Action {
    let upload_id = upload_id.to_owned();
    let sent: u64 = parts.iter().map(|part| part.bytes).sum();
    if size <= sent {
        return Action::Complete { upload_id, parts: parts.to_vec() };
    }
    // All parts but the last have one size, also where another version has begun.
    let part_bytes = parts.first().map_or_else(|| part_bytes(size, smallest_part), |it| it.bytes);
    let end = size.min(sent.saturating_add(part_bytes));
    Action::PutPart { upload_id, number: next_number(parts), range: sent..end }
}

fn next_number(parts: &[UploadedPart]) -> u32 {
    parts.last().map_or(1, |part| part.number + 1)
}

fn part_bytes(size: u64, smallest: u64) -> u64 {
    match size.div_ceil(MOST_PARTS) {
        bytes if bytes <= smallest => smallest,
        bytes => bytes.next_multiple_of(1 << 20),
    }
}

fn later(now: Timestamp, delay: Duration) -> Timestamp {
    let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::ZERO);
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
