//! `Backlog`: jobs that wait, in the order in which they are to be done. Plain memory, no clock.
//!
//! Shortest first, with aging: a job is due when it came plus a tenth of how long its recording is thought to
//! be, so that a memo passes a meeting that came before it, and a meeting waits no longer for memos than a tenth
//! of its own length. Finding, adding and removing take no longer in a long queue than in a short one.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::model::{FileName, InboxId, Job, JobId};

/// A recording up to this length never waits for longer ones.
pub(crate) const SHORT: Duration = Duration::from_secs(600);

/// Part of a recording's length by which it stands behind others.
const AGING: u32 = 10;

/// Whether a recording is short, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Length {
    Short,
    Long,
}

impl Length {
    pub(crate) fn of(duration: Duration) -> Self {
        if duration <= SHORT { Self::Short } else { Self::Long }
    }
}

/// Place in the order: the time at which it is due, then the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(Duration, JobId);

impl Rank {
    /// For a job that came at that time.
    pub(crate) fn new(came: Duration, length: Duration, id: JobId) -> Self {
        Self(came + length / AGING, id)
    }
}

/// What a job waits for before it is in the order again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rest {
    /// A while, after an attempt that failed.
    Retry,
    /// A recognizer that is not installed yet.
    Model,
    /// Room, descriptors or memory: looked for when it begins again.
    Shortage,
    /// So much room on the disk.
    Room { bytes: u64 },
    /// Another job, on the same bytes, that is being worked on.
    Twin { of: JobId },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready(Length, Rank),
    Resting(Duration),
}

#[derive(Debug)]
struct Entry {
    job: Job,
    came: Duration,
    place: Place,
    rest: Option<Rest>,
}

/// All jobs that nobody works on.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    entries: HashMap<JobId, Entry>,
    ready: HashMap<Length, BTreeSet<Rank>>,
    /// By the time at which they are looked at again.
    resting: BTreeSet<(Duration, JobId)>,
    /// A file has one job here; a moment ago it may have had an older one.
    of_file: HashMap<InboxId, Vec<JobId>>,
}

impl Backlog {
    /// A job that may begin.
    pub(crate) fn push(&mut self, job: Job, now: Duration) {
        let length = guessed_length(&job);
        let place = Place::Ready(Length::of(length), Rank::new(now, length, job.id));
        self.insert(Entry { job, came: now, place, rest: None });
    }

    /// A job that must wait until then, and is looked at again.
    pub(crate) fn rest(&mut self, job: Job, rest: Rest, now: Duration, until: Duration) {
        self.insert(Entry { job, came: now, place: Place::Resting(until), rest: Some(rest) });
    }

    fn insert(&mut self, entry: Entry) {
        let id = entry.job.id;
        self.remove(id);
        match entry.place {
            Place::Ready(length, rank) => {
                self.ready.entry(length).or_default().insert(rank);
            }
            Place::Resting(until) => {
                self.resting.insert((until, id));
            }
        }
        self.of_file.entry(entry.job.inbox).or_default().push(id);
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: JobId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        match entry.place {
            Place::Ready(length, rank) => {
                self.ready.entry(length).or_default().remove(&rank);
            }
            Place::Resting(until) => {
                self.resting.remove(&(until, id));
            }
        }
        if let Some(jobs) = self.of_file.get_mut(&entry.job.inbox) {
            jobs.retain(|job| *job != id);
            if jobs.is_empty() {
                self.of_file.remove(&entry.job.inbox);
            }
        }
        Some(entry)
    }

    /// Puts those that have rested long enough into the order again, unless `still_waits`: those are looked at
    /// again after `pause`.
    pub(crate) fn wake(
        &mut self,
        now: Duration,
        pause: Duration,
        mut still_waits: impl FnMut(&Rest) -> bool,
    ) {
        while let Some(&(until, id)) = self.resting.first()
            && until <= now
        {
            let Some(entry) = self.remove(id) else { return };
            let Some(rest) = entry.rest else { continue };
            if still_waits(&rest) {
                let place = Place::Resting(now + pause);
                self.insert(Entry { rest: Some(rest), place, ..entry });
            } else {
                self.push(entry.job, entry.came);
            }
        }
    }

    /// When the next one has rested long enough.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// The next job in order, of any length or only of short recordings, with what is thought of its length.
    pub(crate) fn take(&mut self, only_short: bool) -> Option<(Job, Length)> {
        let first = |length| self.ready.get(&length)?.first().copied();
        let long = if only_short { None } else { first(Length::Long) };
        let Rank(_, id) = first(Length::Short).into_iter().chain(long).min()?;
        let Entry { job, place, .. } = self.remove(id)?;
        match place {
            Place::Ready(length, _) => Some((job, length)),
            Place::Resting(_) => None,
        }
    }

    /// Whether that version of the file has a job here.
    pub(crate) fn holds(&self, inbox: InboxId, generation: u64) -> bool {
        self.jobs_of(inbox).any(|job| job.generation == generation)
    }

    /// Removes the jobs on that file up to that generation.
    pub(crate) fn withdraw(&mut self, inbox: InboxId, generation: u64) -> Vec<Job> {
        let jobs = self.jobs_of(inbox).filter(|job| job.generation <= generation);
        let ids: Vec<JobId> = jobs.map(|job| job.id).collect();
        ids.into_iter().filter_map(|id| Some(self.remove(id)?.job)).collect()
    }

    fn jobs_of(&self, inbox: InboxId) -> impl Iterator<Item = &Job> {
        let ids = self.of_file.get(&inbox).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(|id| Some(&self.entries.get(id)?.job))
    }
}

/// Sound that a second's worth of bytes usually holds, by the kind of file: what it really is, only decoding tells.
fn guessed_length(job: &Job) -> Duration {
    let extension = job.path.last().map(FileName::extension).unwrap_or_default();
    let bytes_per_second = match extension.as_str() {
        "wav" | "wave" | "aif" | "aiff" | "au" | "caf" | "w64" | "bwf" => 64_000,
        "flac" | "alac" => 32_000,
        "mp4" | "mov" | "mkv" | "webm" | "avi" => 32_000,
        _ => 4_000,
    };
    Duration::from_secs(job.bytes / bytes_per_second)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::{ConversationId, JobState};

    const NOW: Duration = Duration::ZERO;

    /// A job on a WAV file of that length, in the file of the same number.
    fn job(id: u64, seconds: u64) -> Job {
        Job {
            id: JobId(id),
            inbox: InboxId(id),
            generation: 1,
            path: vec![FileName::new("talk.wav").unwrap()],
            bytes: seconds * 64_000,
            modified_ns: 0,
            conversation: ConversationId::new("talk").unwrap(),
            state: JobState::Queued,
            attempts: 0,
            recipe: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            failure: None,
            remark: None,
            recording: None,
        }
    }

    fn order(backlog: &mut Backlog) -> Vec<u64> {
        std::iter::from_fn(|| backlog.take(false)).map(|(job, _)| job.id.0).collect()
    }

    #[test]
    fn a_memo_passes_a_meeting_that_came_before_it() {
        let mut backlog = Backlog::default();
        backlog.push(job(1, 7_200), NOW);
        backlog.push(job(2, 20), Duration::from_secs(6));
        backlog.push(job(3, 10), Duration::from_secs(6));
        assert_eq!(order(&mut backlog), [3, 2, 1]);
    }

    #[test]
    fn a_meeting_waits_no_longer_for_memos_than_a_tenth_of_its_length() {
        let mut backlog = Backlog::default();
        backlog.push(job(1, 7_200), NOW);
        for second in 0..2_000 {
            backlog.push(job(second + 2, 20), Duration::from_secs(second));
        }
        let order = order(&mut backlog);
        let place = order.iter().position(|id| *id == 1).unwrap();
        // Due after 720 s, as the memos are that came in the 718 s before.
        assert!((717..=720).contains(&place), "{place}");
    }

    #[test]
    fn who_takes_only_short_ones_leaves_the_others() {
        let mut backlog = Backlog::default();
        backlog.push(job(1, 7_200), NOW);
        assert!(backlog.take(true).is_none());
        backlog.push(job(2, 600), Duration::from_secs(1_000));
        assert_eq!(backlog.take(true).map(|(job, _)| job.id), Some(JobId(2)));
        assert_eq!(order(&mut backlog), [1]);
    }

    #[test]
    fn who_rests_is_looked_at_again_and_keeps_its_place() {
        let (mut backlog, pause) = (Backlog::default(), Duration::from_secs(5));
        let room = Rest::Room { bytes: 100 };
        backlog.rest(job(1, 20), room.clone(), NOW, pause);
        backlog.push(job(2, 20), Duration::from_secs(9));
        assert_eq!(backlog.next_wake(), Some(pause));
        backlog.wake(Duration::from_secs(4), pause, |_| panic!("it is too soon to look"));
        backlog.wake(Duration::from_secs(6), pause, |rest| *rest == room);
        assert_eq!(backlog.next_wake(), Some(Duration::from_secs(11)));
        backlog.wake(Duration::from_secs(11), pause, |_| false);
        assert_eq!(backlog.next_wake(), None);
        assert_eq!(order(&mut backlog), [1, 2]);
    }

    #[test]
    fn what_is_withdrawn_is_gone_wherever_it_was() {
        let mut backlog = Backlog::default();
        backlog.push(job(1, 20), NOW);
        backlog.rest(job(2, 20), Rest::Retry, NOW, Duration::from_secs(5));
        assert!(backlog.holds(InboxId(1), 1) && !backlog.holds(InboxId(1), 2));
        assert!(backlog.withdraw(InboxId(1), 0).is_empty());
        for id in [1, 2] {
            let gone = backlog.withdraw(InboxId(id), u64::MAX);
            assert_eq!(gone.iter().map(|job| job.id.0).collect::<Vec<_>>(), [id]);
            assert!(!backlog.holds(InboxId(id), 1));
        }
        assert_eq!((backlog.next_wake(), order(&mut backlog).len()), (None, 0));
    }

    #[test]
    fn a_hundred_thousand_files_are_queued_and_withdrawn_one_by_one() {
        // Quadratic, this would take hours.
        let mut backlog = Backlog::default();
        let count = 100_000;
        (1..=count).for_each(|id| backlog.push(job(id, id % 100), NOW));
        (1..=count).for_each(|id| assert_eq!(backlog.withdraw(InboxId(id), 1).len(), 1));
        (1..=count).for_each(|id| backlog.push(job(id, id % 100), NOW));
        assert_eq!(order(&mut backlog).len(), usize::try_from(count).unwrap());
    }
}
