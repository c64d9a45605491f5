//! Brings pages up to date that the index says are due: after a rename, a trashing, a restoration, a publication,
//! and after a crash in the middle of any of them.
//!
//! [`serve`] runs on a thread of its own: at start, when something changes, and again after failures with growing
//! pauses. Everything it does can be cut off anywhere and done again.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::index::{Change, ChangeQueue, DueEntry, Index, IndexError, PageWork, PagesDue};
use crate::model::{RecordingId, causes};
use crate::publishing::error::StorageError;
use crate::publishing::page_store::PageStore;
use crate::publishing::rewrite::RewriteError;
use crate::publishing::{local_removals, pages_update, staged_pages};
use crate::store::{Backoff, Store};

/// How often the thread looks whether it is to end, or a pause is over.
const TICK: Duration = Duration::from_millis(500);

/// After failures.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(5));

/// A day's transcript is rendered when nothing has changed on the day for so long ...
const QUIET: Duration = Duration::from_secs(2);

/// ... or the oldest recording that it lacks has waited so many times as long as the last rendering took: at most
/// a twentieth of the time goes into it, however many recordings come.
const PATIENCE: u32 = 20;
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

/// Entries that are asked for at once.
const BATCH: usize = 500;

/// What a pass over everything that is due came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    pub done: u64,
    /// What failed and is still due.
    pub left: u64,
}

/// Brings everything up to date that is due, once. What fails stays due.
///
/// # Errors
/// The index could not be read or written.
pub fn write_pages_due(store: &dyn Store, index: &Index) -> Result<Drained, IndexError> {
    let mut drained = Drained::default();
    let mut pauses = Pauses::default();
    // What is done leaves entries: a conversation those of its days, new pages one of their own.
    let page_store = PageStore { store, index };
    loop {
        match pass(page_store, &mut pauses)? {
            0 => break,
            done => drained.done += done,
        }
    }
    staged_pages::sweep(page_store)?;
    drained.left = u64::try_from(pauses.failed.len()).unwrap_or(u64::MAX);
    Ok(drained)
}

/// The same again and again, until `is_closing`.
pub(crate) fn serve(
    store: &dyn Store,
    index: &Index,
    changes: &ChangeQueue,
    is_closing: &dyn Fn() -> bool,
) {
    let page_store = PageStore { store, index };
    let mut pauses = Pauses::default();
    // What a daemon that died has left to be done, and what it has left behind.
    match write_pages_due(store, index) {
        // There will be room again; they stay due until then.
        Ok(_) | Err(IndexError::Full(_)) => {}
        Err(err) => {
            log::error!("pages that are due could not be looked up: {err}");
            return;
        }
    }
    let mut has_news = true;
    while !is_closing() {
        if has_news || pauses.is_one_over(Instant::now()) {
            match pass(page_store, &mut pauses) {
                Ok(_) => has_news = false,
                Err(IndexError::Full(_)) => {}
                // Whoever writes to the index next rings the alarm.
                Err(err) => {
                    log::error!("pages that are due could not be looked up: {err}");
                    return;
                }
            }
        }
        match changes.recv_timeout(TICK) {
            Ok(change) => {
                let now = Instant::now();
                for change in std::iter::once(change).chain(changes.try_iter()) {
                    has_news |= pauses.note(&change, now);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What is not to be done before its time.
#[derive(Debug, Default)]
struct Pauses {
    failed: HashMap<PagesDue, Pause>,
    /// Days on which something changes: since when, and when the last time.
    busy: HashMap<PagesDue, (Instant, Instant)>,
    /// How long the last rendering of a transcript took.
    rendering: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    backoff: Backoff,
}

impl Pauses {
    /// Whether the change leaves pages that are due.
    fn note(&mut self, change: &Change, now: Instant) -> bool {
        match change {
            // Of a long day they come one after the other: its text is rendered for all of them at once.
            Change::Published { recording, .. }
            | Change::Replaced { recording }
            | Change::RecordingMoved { recording, .. } => {
                let RecordingId { conversation, day, .. } = recording.id;
                let busy = self.busy.entry(PagesDue::Day(conversation, day)).or_insert((now, now));
                busy.1 = now;
                true
            }
            Change::Renamed { .. }
            | Change::Trashed { .. }
            | Change::Restored { .. }
            | Change::DayTranscript { .. }
            | Change::Missed => true,
            Change::Purging { .. }
            | Change::Removed { .. }
            | Change::Placed { .. }
            | Change::Job(_) => false,
        }
    }

    fn is_paused(&self, due: PagesDue, now: Instant) -> bool {
        self.failed.get(&due).is_some_and(|pause| now < pause.until)
            || self.busy.get(&due).is_some_and(|busy| now < quiet_at(*busy, self.rendering))
    }

    fn is_one_over(&self, now: Instant) -> bool {
        self.failed.values().any(|pause| pause.until <= now)
            || self.busy.values().any(|busy| quiet_at(*busy, self.rendering) <= now)
    }

    fn failed(&mut self, due: PagesDue, now: Instant) {
        let pause = self.failed.entry(due).or_insert(Pause { until: now, backoff: PAUSES });
        pause.until = now + pause.backoff.failed(1.0);
    }

    /// Forgets what is no longer due. A day on which something changes may become due once more.
    fn retain_due(&mut self, dues: &HashSet<PagesDue>, now: Instant) {
        self.failed.retain(|due, _| dues.contains(due));
        let Self { busy, rendering, .. } = self;
        busy.retain(|due, busy| dues.contains(due) || now < quiet_at(*busy, *rendering));
    }

    fn done(&mut self, due: PagesDue) {
        self.failed.remove(&due);
        self.busy.remove(&due);
    }
}

/// When a day is rendered on which something changed first and last at those times.
fn quiet_at((since, last): (Instant, Instant), rendering: Duration) -> Instant {
    (last + QUIET).min(since + LEAST_PATIENCE.max(rendering * PATIENCE))
}

/// Does everything once that is due and not paused; how many entries were done.
fn pass(page_store: PageStore<'_>, pauses: &mut Pauses) -> Result<u64, IndexError> {
    let (mut done, mut after) = (0, None);
    let mut dues = HashSet::new();
    loop {
        let entries = page_store.index.pages_due(after.as_ref(), BATCH)?;
        let Some(last) = entries.last() else { break };
        after = Some(*last);
        dues.extend(entries.iter().map(|entry| entry.due));
        let mut settled = Vec::new();
        for entry in entries {
            if !pauses.is_paused(entry.due, Instant::now())
                && is_settled(page_store, entry, pauses)?
            {
                settled.push(entry);
            }
        }
        if !settled.is_empty() {
            done += settled.len() as u64;
            page_store.index.clear_pages_due(settled)?;
        }
    }
    remove_old_keys(page_store, pauses, &mut dues)?;
    pauses.retain_due(&dues, Instant::now());
    Ok(done)
}

/// What recordings that were given other keys have left on local disk.
fn remove_old_keys(
    page_store: PageStore<'_>,
    pauses: &mut Pauses,
    dues: &mut HashSet<PagesDue>,
) -> Result<(), IndexError> {
    for due in page_store.index.removals_due()?.iter().filter(|due| due.is_here) {
        let recording = PagesDue::Recording(due.recording.id);
        dues.insert(recording);
        if pauses.is_paused(recording, Instant::now()) {
            continue;
        }
        match local_removals::remove_here(page_store.store, page_store.index, due) {
            Ok(()) => pauses.done(recording),
            Err(StorageError::Index(err)) => return Err(err),
            Err(StorageError::Store(err)) => {
                log::debug!("{}: is removed later: {}", due.key(), causes(&err));
                pauses.failed(recording, Instant::now());
            }
        }
    }
    Ok(())
}

/// Does one thing that is due. `false`: it stays due.
fn is_settled(
    page_store: PageStore<'_>,
    entry: DueEntry,
    pauses: &mut Pauses,
) -> Result<bool, IndexError> {
    let begun = Instant::now();
    let outcome = match entry.due {
        PagesDue::Conversation(seq) => pages_update::conversation(page_store, seq),
        PagesDue::Recording(id) => pages_update::recording(page_store, id, entry.work),
        PagesDue::Day(seq, day) => pages_update::day(page_store, seq, day, entry.work),
    };
    if matches!(entry.due, PagesDue::Day(..)) && entry.work == PageWork::Render {
        pauses.rendering = begun.elapsed();
    }
    match outcome {
        Ok(true) => {
            pauses.done(entry.due);
            return Ok(true);
        }
        Ok(false) => {}
        Err(RewriteError::Index(err @ (IndexError::Disk(_) | IndexError::Damaged(_)))) => {
            return Err(err);
        }
        // Removed meanwhile.
        Err(RewriteError::Missing) => return Ok(true),
        Err(err) => log::debug!("{:?}: its pages stay due: {}", entry.due, causes(&err)),
    }
    pauses.failed(entry.due, Instant::now());
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::recordings_of_a_day;
    use crate::store::MemoryStore;

    #[test]
    fn a_day_of_which_one_recording_after_the_other_is_removed_is_rendered_when_that_is_over() {
        let recordings = recordings_of_a_day(40);
        let (mut pauses, mut now) = (Pauses::default(), Instant::now());
        let id = recordings[0].id;
        let day = PagesDue::Day(id.conversation, id.day);
        for recording in recordings {
            let moved = Change::RecordingMoved { recording: Box::new(recording), with_day: false };
            assert!(pauses.note(&moved, now));
            assert!(pauses.is_paused(day, now));
            now += Duration::from_millis(50);
        }
        assert!(!pauses.is_paused(day, now + QUIET));
        // However long it goes on, the day does not wait for ever.
        assert!(!pauses.is_paused(day, now + LEAST_PATIENCE));
    }
    #[test]
    fn a_day_of_which_nothing_is_due_is_not_looked_at_again_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.redb")).unwrap();
        let store = MemoryStore::default();
        let recording = Box::new(recordings_of_a_day(1).remove(0));
        // Long enough ago; its day was rendered before anybody was told of it.
        let (mut pauses, then) = (Pauses::default(), Instant::now().checked_sub(QUIET).unwrap());
        pauses.note(&Change::RecordingMoved { recording, with_day: false }, then);
        assert!(pauses.is_one_over(Instant::now()));
        pass(PageStore { store: &store, index: &index }, &mut pauses).unwrap();
        assert!(!pauses.is_one_over(Instant::now() + LEAST_PATIENCE));
    }
}
