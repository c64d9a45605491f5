//! The rule of completeness against a naive model of it, over random histories of one file.

use proptest::prelude::*;

use super::*;
use crate::spool::state_inputs::{Look, Mark, Schedule, Verdict};

const SETTLE: Duration = Duration::from_secs(5);

/// What can happen to a file.
#[derive(Debug, Clone)]
enum Step {
    Open,
    /// Through an open writer; with passthrough nobody tells us.
    Write,
    Close,
    Resize(u64),
    Rename {
        to: Candidate,
        was_temporary: bool,
    },
    Touch,
    SetMode,
    Commit,
    Cancel,
    Retry,
    /// By somebody who writes to the disk without asking us.
    WriteBehind,
    Wait(u64),
    Fail,
    /// Of the daemon: what the system holds for the disk is still there.
    Crash,
    /// Of the system: what was not brought to the disk may be gone.
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let candidate =
        prop_oneof![Just(Candidate::Never), Just(Candidate::ByName), Just(Candidate::ByContent),];
    let step = prop_oneof![
        4 => Just(Step::Open),
        4 => Just(Step::Write),
        4 => Just(Step::Close),
        1 => (0..3_u64).prop_map(Step::Resize),
        1 => (candidate, any::<bool>())
            .prop_map(|(to, was_temporary)| Step::Rename { to, was_temporary }),
        1 => Just(Step::Touch),
        1 => Just(Step::SetMode),
        1 => Just(Step::Commit),
        1 => Just(Step::Cancel),
        1 => Just(Step::Retry),
        1 => Just(Step::WriteBehind),
        6 => (0..7_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Fail),
        1 => Just(Step::Crash),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..60)
}

/// The rule in the plainest words, beside the machine that it judges.
struct World {
    file: Completeness,
    now: Duration,
    /// What the disk has.
    bytes: u64,
    clock_ns: i128,
    modified_ns: i128,
    mark: Mark,
    /// What the rule knows.
    candidate: Candidate,
    writers: u32,
    quiet_from: Duration,
    ended: bool,
    changed_since_open: bool,
    is_committed: bool,
    /// Somebody wrote to it at rest, and nobody has looked since.
    is_behind: bool,
    contents: u64,
    /// Bytes that came through us have not been brought to the disk.
    may_be_cut: bool,
    offered: Option<(u64, u64)>,
}

impl World {
    fn new() -> Self {
        Self {
            file: Completeness::default(),
            now: Duration::ZERO,
            bytes: 0,
            clock_ns: 0,
            modified_ns: 0,
            mark: Mark::Nothing,
            candidate: Candidate::ByName,
            writers: 0,
            quiet_from: Duration::ZERO,
            ended: false,
            changed_since_open: false,
            is_committed: false,
            is_behind: false,
            contents: 0,
            may_be_cut: false,
            offered: None,
        }
    }

    fn stamp(&self) -> FileStamp {
        FileStamp { bytes: self.bytes, modified_ns: self.modified_ns, changed_ns: self.clock_ns }
    }

    fn change_bytes(&mut self, bytes: u64) {
        self.clock_ns += 1;
        self.modified_ns = self.clock_ns;
        self.bytes = bytes;
        self.contents += 1;
        self.changed_since_open = true;
        self.quiet_from = self.now + SETTLE;
    }

    fn react(&mut self, reaction: Reaction) {
        if let Some(generation) = reaction.withdrawn {
            assert_eq!(self.offered.take().map(|(offered, _)| offered), Some(generation));
        }
        self.put_mark();
    }

    /// As the spool does after every change.
    fn put_mark(&mut self) {
        if self.mark != self.file.mark() {
            self.mark = self.file.mark();
            self.clock_ns += 1;
        }
    }

    fn take(&mut self, step: &Step) {
        let due = self.now + SETTLE;
        match step {
            Step::Open => {
                let reaction = self.file.opened_for_writing().unwrap();
                self.changed_since_open &= self.writers > 0;
                self.is_committed &= self.writers > 0;
                self.writers += 1;
                self.react(reaction);
            }
            Step::Write if self.writers > 0 => {
                self.change_bytes(self.bytes + 1);
                self.may_be_cut = true;
            }
            Step::Close if self.writers > 0 => self.close(due),
            Step::Resize(bytes) => {
                self.change_bytes(*bytes);
                self.may_be_cut = true;
                (self.ended, self.is_behind) = (false, false);
                let reaction = self.file.resized(self.candidate, Some(self.stamp()), due);
                self.react(reaction);
            }
            Step::Rename { to, was_temporary } => {
                let quiet = if *was_temporary { SETTLE / 10 } else { SETTLE };
                self.candidate = *to;
                self.quiet_from = self.now + quiet;
                self.is_behind &= self.ended;
                let reaction = self.file.renamed(*to, Some(self.stamp()), self.now + quiet);
                self.react(reaction);
            }
            Step::Touch => {
                let before = self.stamp();
                self.clock_ns += 1;
                self.modified_ns = self.clock_ns;
                self.changed_since_open = true;
                if self.writers == 0 && self.ended {
                    self.ended = false;
                    self.quiet_from = due;
                }
                let reaction = self.file.touched(self.candidate, before, self.stamp(), due);
                self.react(reaction);
            }
            Step::SetMode => {
                let before = self.stamp();
                self.clock_ns += 1;
                self.file.restamped(before, self.stamp());
            }
            Step::Commit => {
                match self.writers {
                    0 => {
                        self.quiet_from = self.now;
                        self.is_behind &= self.file.work().is_some();
                    }
                    _ => self.is_committed = true,
                }
                let reaction = self.file.committed(self.candidate, Some(self.stamp()), self.now);
                self.react(reaction);
            }
            Step::Cancel => self.cancel(),
            Step::Retry => {
                if self.writers == 0 && self.ended {
                    self.ended = false;
                    self.quiet_from = self.now;
                }
                let reaction = self.file.retried(self.candidate, self.now);
                self.react(reaction);
            }
            Step::WriteBehind if self.writers == 0 => {
                self.is_behind = true;
                self.change_bytes(self.bytes + 1);
            }
            Step::Wait(milliseconds) => {
                self.now += Duration::from_millis(*milliseconds);
                self.look();
            }
            Step::Fail if self.file.offered().is_some() => {
                self.offered = None;
                self.ended = true;
                let ending = Ending { end: End::Failed, reason: "why".to_owned() };
                let reaction = self.file.ended(ending);
                self.react(reaction);
            }
            Step::Crash => self.crash(self.mark.clone()),
            Step::PowerCut => self.power_cut(),
            Step::Write | Step::Close | Step::WriteBehind | Step::Fail => {}
        }
        assert_eq!(self.file.writers(), self.writers);
    }

    fn close(&mut self, due: Duration) {
        self.writers -= 1;
        if self.writers == 0 {
            self.ended &= !self.changed_since_open && !self.is_behind;
            self.is_behind = false;
            self.quiet_from = if self.is_committed { self.now } else { due };
        }
        if self.file.writer_left() {
            let reaction = self.file.closed(self.candidate, Some(self.stamp()), due, self.now);
            self.react(reaction);
        }
    }

    fn cancel(&mut self) {
        let was_work = self.file.due().is_some() || self.file.offered().is_some();
        if let Some(reaction) = self.file.cancelled() {
            self.ended |= was_work;
            self.offered = None;
            self.react(reaction);
        }
    }

    /// The daemon is gone and another one finds the file.
    fn crash(&mut self, mark: Mark) {
        self.ended |= self.writers > 0 || (mark == Mark::Receiving && !self.ended);
        self.writers = 0;
        self.is_behind = false;
        self.offered = None;
        self.file = Completeness::default();
        self.quiet_from = self.now + SETTLE;
        let stamp = self.stamp();
        let reaction = self.file.found(mark, self.candidate, stamp, self.quiet_from);
        self.react(reaction);
    }

    /// The disk has the marks, and of bytes what was synced; the mark `Closed` is of another run of the system.
    fn power_cut(&mut self) {
        let mark = match self.mark.clone() {
            Mark::Closed => Mark::Receiving,
            mark => mark,
        };
        let is_seen = !self.is_behind && self.candidate != Candidate::Never;
        if self.may_be_cut && is_seen && self.bytes != 0 {
            assert_ne!(mark, Mark::Nothing, "half of it might be taken: {:?}", self.file);
        }
        self.may_be_cut = false;
        self.crash(mark);
    }

    fn look(&mut self) {
        if self.file.due().is_none_or(|due| self.now < due) {
            return;
        }
        let stamp = self.stamp();
        let is_recording = self.bytes != 0 || self.candidate == Candidate::ByName;
        let look = Look { stamp, is_recording, is_too_large: false, is_unfinished: false };
        self.is_behind = false;
        let next = self.now + SETTLE;
        let schedule = Schedule { now: self.now, next, patience: next, empty: next };
        let verdict = self.file.looked(look, schedule);
        if verdict == Verdict::Empty {
            assert_eq!((self.bytes, self.writers, self.ended), (0, 0, false));
            self.ended = true;
            let ending = Ending { end: End::Failed, reason: "why".to_owned() };
            let reaction = self.file.refused(ending);
            self.react(reaction);
        }
        if verdict == Verdict::Complete {
            assert!(self.may_be_offered(), "complete against the rule");
            assert!(self.file.offered().is_none());
            self.may_be_cut = false;
            let generation = self.file.generation();
            assert!(self.file.synced(generation, self.stamp(), next));
            self.put_mark();
            assert_eq!(self.mark, Mark::Nothing);
            assert!(self.file.offer(generation, self.stamp(), next));
            let before = self.offered.replace((generation, self.contents));
            assert_eq!(before, None, "offered twice");
        }
    }

    fn may_be_offered(&self) -> bool {
        self.writers == 0
            && self.bytes > 0
            && self.candidate != Candidate::Never
            && !self.ended
            && self.quiet_from <= self.now
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_file_is_offered_when_the_rule_says_so_and_only_then(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        // In the end all writers go and time passes: now the rule decides.
        while world.writers > 0 {
            world.take(&Step::Close);
        }
        for _ in 0..4 {
            world.take(&Step::Wait(6_000));
        }
        // What somebody writes to a file at rest is noticed when it is asked for, not by itself.
        if !world.is_behind {
            let is_offered = world.file.offered().is_some();
            prop_assert_eq!(is_offered, world.may_be_offered());
        }
    }
}
