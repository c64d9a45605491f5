//! Random operations on a store that fails, with restarts in between, against a naive model: what was refused has changed
//! nothing, what was done stays done, and once the store is well again everything comes out as if it had always been.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::fixtures::faulty_store::{Fault, FaultyStore};
use crate::fixtures::pages::{assert_readable, assert_settled, name};
use crate::fixtures::{Bench, sound_of};
use crate::model::{ConversationId, ConversationSeq, PageKind, Recording, RecordingId};
use crate::publishing::write_pages_due;
use crate::store::Store;
use crate::sync::empty_trash;

const CONVERSATIONS: [&str; 3] = ["one", "two", "three"];

#[derive(Debug, Clone)]
enum Operation {
    Publish {
        conversation: &'static str,
    },
    /// Which recording, and whom its speaker is.
    Name {
        nth: usize,
        name: &'static str,
    },
    Rename {
        from: &'static str,
        to: &'static str,
    },
    Trash {
        conversation: &'static str,
    },
    Restore {
        nth: usize,
        to: &'static str,
    },
    TrashRecording {
        nth: usize,
    },
    RestoreRecording {
        nth: usize,
    },
    /// Everything that is in the trash has been there for long enough.
    EmptyTrash,
    /// What is owed is done.
    WritePages,
    /// From the call after so many others on, so many fail.
    Fail {
        fault: Fault,
        after: u32,
        times: u32,
    },
    Restart,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    use Operation as O;
    let conversation = || prop::sample::select(&CONVERSATIONS[..]);
    let fault = prop::sample::select(vec![
        Fault::Puts,
        Fault::Reads,
        Fault::Deletes,
        Fault::All,
        Fault::Full,
    ]);
    let operation = prop_oneof![
        6 => conversation().prop_map(|conversation| O::Publish { conversation }),
        3 => (0..9_usize, prop::sample::select(vec!["Anna", "Ben", ""]))
            .prop_map(|(nth, name)| O::Name { nth, name }),
        2 => (conversation(), conversation()).prop_map(|(from, to)| O::Rename { from, to }),
        2 => conversation().prop_map(|conversation| O::Trash { conversation }),
        2 => (0..9_usize, conversation()).prop_map(|(nth, to)| O::Restore { nth, to }),
        2 => (0..9_usize).prop_map(|nth| O::TrashRecording { nth }),
        2 => (0..9_usize).prop_map(|nth| O::RestoreRecording { nth }),
        1 => Just(O::EmptyTrash),
        2 => Just(O::WritePages),
        6 => (fault, 0..12_u32, 1..6_u32)
            .prop_map(|(fault, after, times)| O::Fail { fault, after, times }),
        1 => Just(O::Restart),
    ];
    prop::collection::vec(operation, 1..30)
}

/// What the model knows of a recording.
#[derive(Debug, Clone)]
struct Kept {
    id: RecordingId,
    dropped_as: String,
    name: String,
    is_trashed: bool,
}

/// The naive model beside the rooms that it judges.
struct World {
    bench: Bench,
    store: Arc<FaultyStore>,
    conversations: BTreeMap<ConversationSeq, (String, bool)>,
    recordings: Vec<Kept>,
    /// What the bench has dropped and nobody has published yet.
    pending: Option<String>,
    /// Where it was to be published when the store would not: it is tried again there.
    refused: Option<&'static str>,
    dropped: usize,
}

impl World {
    fn new() -> Self {
        let store = Arc::new(FaultyStore::default());
        let bench = Bench::new(store.clone());
        Self {
            bench,
            store,
            conversations: BTreeMap::new(),
            recordings: Vec::new(),
            pending: Some("standup.wav".to_owned()),
            refused: None,
            dropped: 0,
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Publish { conversation } => self.publish(conversation),
            Operation::Name { nth, name } => self.name(*nth, name),
            Operation::Rename { from, to } => self.rename(from, to),
            Operation::Trash { conversation } => self.trash(conversation),
            Operation::Restore { nth, to } => self.restore(*nth, to),
            Operation::TrashRecording { nth } => self.trash_recording(*nth),
            Operation::RestoreRecording { nth } => self.restore_recording(*nth),
            Operation::EmptyTrash => self.empty_trash(),
            Operation::WritePages => drop(write_pages_due(&*self.store, self.index()).unwrap()),
            Operation::Fail { fault, after, times } => {
                self.store.interceptor().fail(*fault, *after, *times)
            }
            Operation::Restart => self.bench.restart(),
        }
    }

    fn index(&self) -> &crate::index::Index {
        &self.bench.services.index
    }

    /// The conversation of that name that is not in the trash.
    fn named(&self, name: &str) -> Option<ConversationSeq> {
        let found = self.conversations.iter().find(|(_, (id, trashed))| id == name && !trashed);
        found.map(|(seq, _)| *seq)
    }

    /// The same, unless a job that was refused is going to publish there: what it has left lies there until then.
    fn at_rest(&self, name: &str) -> Option<ConversationSeq> {
        self.named(name).filter(|_| self.refused != Some(name))
    }

    fn is_shown(&self, kept: &Kept) -> bool {
        !kept.is_trashed && !self.conversations[&kept.id.conversation].1
    }

    fn nth(&self, nth: usize) -> Option<usize> {
        (!self.recordings.is_empty()).then(|| nth % self.recordings.len())
    }

    fn publish(&mut self, conversation: &'static str) {
        let conversation = self.refused.unwrap_or(conversation);
        if self.pending.is_none() {
            self.dropped += 1;
            let name = format!("memo-{}.wav", self.dropped);
            self.bench.drop_another(&name);
            self.pending = Some(name);
        }
        // Refused: it stays in the inbox, and is tried again.
        let Ok(recording) = self.bench.publish_in(conversation) else {
            self.refused = Some(conversation);
            return;
        };
        self.refused = None;
        let seq = recording.id.conversation;
        assert_eq!(self.named(conversation).unwrap_or(seq), seq, "another `{conversation}`");
        self.conversations.entry(seq).or_insert((conversation.to_owned(), false));
        let dropped_as = self.pending.take().unwrap();
        let name = String::new();
        self.recordings.push(Kept { id: recording.id, dropped_as, name, is_trashed: false });
        self.bench.finish();
    }

    fn name(&mut self, nth: usize, who: &str) {
        let Some(nth) = self.nth(nth) else { return };
        let kept = &self.recordings[nth];
        let Some(recording) = self.index().filed_recording(kept.id).unwrap() else { return };
        if name(&*self.store, self.index(), &recording, who).is_ok() {
            self.recordings[nth].name = who.to_owned();
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let Some(seq) = self.at_rest(from).filter(|_| self.refused != Some(to)) else { return };
        let id = ConversationId::new(to).unwrap();
        let renamed = self.index().rename_conversation(seq, &id).is_ok();
        assert!(!renamed || from == to || self.named(to).is_none(), "two are called `{to}`");
        if renamed {
            self.conversations.get_mut(&seq).unwrap().0 = to.to_owned();
        }
    }

    fn trash(&mut self, conversation: &str) {
        let Some(seq) = self.at_rest(conversation) else { return };
        self.index().trash_conversation(seq, an_hour_ago()).unwrap();
        self.conversations.get_mut(&seq).unwrap().1 = true;
    }

    fn restore(&mut self, nth: usize, to: &str) {
        let trashed = self.conversations.iter().filter(|(_, (_, trashed))| *trashed);
        let trashed: Vec<ConversationSeq> = trashed.map(|(seq, _)| *seq).collect();
        if trashed.is_empty() || self.refused == Some(to) {
            return;
        }
        let seq = trashed[nth % trashed.len()];
        let id = ConversationId::new(to).unwrap();
        let restored = self.index().restore_conversation_as(seq, &id).is_ok();
        assert!(!restored || self.named(to).is_none(), "two are called `{to}`");
        if restored {
            self.conversations.insert(seq, (to.to_owned(), false));
        }
    }

    /// Not the last one of its conversation, which takes that along: another test's business.
    fn trash_recording(&mut self, nth: usize) {
        let Some(nth) = self.nth(nth) else { return };
        let id = self.recordings[nth].id;
        let shown = self.recordings.iter().filter(|it| self.is_shown(it));
        let others = shown.filter(|it| it.id.conversation == id.conversation && it.id != id);
        if others.count() == 0 || !self.is_shown(&self.recordings[nth]) {
            return;
        }
        self.index().trash_recording(id, an_hour_ago()).unwrap();
        self.recordings[nth].is_trashed = true;
    }

    fn restore_recording(&mut self, nth: usize) {
        let Some(nth) = self.nth(nth) else { return };
        let kept = &self.recordings[nth];
        let is_reachable = !self.conversations[&kept.id.conversation].1;
        assert_eq!(self.index().restore_recording(kept.id).is_ok(), is_reachable);
        self.recordings[nth].is_trashed &= !is_reachable;
    }

    /// Cut off or not, it goes on with the next time, and nothing of it can be had any more.
    fn empty_trash(&mut self) {
        let day = Duration::from_hours(24);
        let empty = |world: &Self| {
            let (now, none) = (Timestamp::now(), Duration::ZERO);
            empty_trash(&*world.store, world.index(), none, now, day).map(drop)
        };
        // Seen there for the first time, and for long enough the second time.
        let _ = empty(self);
        let _ = empty(self);
        self.store.interceptor().heal();
        empty(self).unwrap();
        empty(self).unwrap();
        let gone: BTreeSet<RecordingId> =
            self.recordings.iter().filter(|it| !self.is_shown(it)).map(|it| it.id).collect();
        self.recordings.retain(|it| !gone.contains(&it.id));
        self.conversations.retain(|_, (_, trashed)| !*trashed);
        for id in gone {
            assert_eq!(self.index().filed_recording(id).unwrap(), None);
        }
    }

    /// Whatever the store does, the index says what the model says.
    fn compare(&self) {
        let index = self.index();
        for kept in &self.recordings {
            let filed = index.filed_recording(kept.id).unwrap();
            let filed = filed.unwrap_or_else(|| panic!("{kept:?} is gone"));
            let hash = blake3::hash(&sound_of(&kept.dropped_as)).to_hex().to_string();
            assert_eq!(filed.audio.blake3, hash, "{kept:?}");
            let is_listed = |it: &Recording| it.overlay.trashed_at.is_none();
            let is_shown = index.recording(kept.id).unwrap().is_some_and(|it| is_listed(&it));
            assert_eq!(is_shown, self.is_shown(kept), "{kept:?}");
            let name = filed.overlay.names.values().next().map_or("", String::as_str);
            assert_eq!(name, kept.name, "{kept:?}");
        }
        let shown = self.recordings.iter().filter(|it| self.is_shown(it)).count();
        assert_eq!(index.totals().unwrap().recordings, shown as u64);
        assert_eq!(index.every_recording(None, 1_000).unwrap().len(), self.recordings.len());
        for (seq, (id, trashed)) in &self.conversations {
            let found = index.filed_conversation(*seq).unwrap().unwrap();
            assert_eq!((found.id.as_str(), found.trashed_at.is_some()), (id.as_str(), *trashed));
        }
    }

    /// The store is well again, and nobody asks for anything: all is as if it had always been.
    fn settle(&mut self) {
        self.store.interceptor().heal();
        if self.pending.is_some() {
            self.publish("one");
            assert!(self.pending.is_none(), "what was refused is refused for good");
        }
        self.compare();
        assert_readable(&*self.store, self.index(), "healed");
        assert_settled(&*self.store, self.index(), "healed");
        for kept in &self.recordings {
            let filed = self.index().filed_recording(kept.id).unwrap().unwrap();
            let audio = self.store.get_range(&filed.audio.key, 0..u64::MAX).unwrap();
            assert_eq!(audio, sound_of(&kept.dropped_as));
            let page = &filed.page(PageKind::Json).unwrap().object;
            let page = self.store.get_range(&page.key, 0..u64::MAX).unwrap();
            let page = String::from_utf8(page).unwrap();
            assert!(kept.name.is_empty() || page.contains(&kept.name), "{kept:?}: {page}");
        }
    }
}

fn an_hour_ago() -> Timestamp {
    Timestamp::now() - jiff::SignedDuration::from_hours(1)
}

#[test]
fn a_store_that_fails_changes_nothing_but_the_time_that_it_takes() {
    let (failure_persistence, cases) = (None, 80);
    let config =
        Config { cases, failure_persistence, max_shrink_time: 60_000, ..Config::default() };
    let result = TestRunner::new(config).run(&operations(), |operations| {
        let tried = std::panic::catch_unwind(|| {
            let mut world = World::new();
            for operation in &operations {
                world.apply(operation);
                world.compare();
            }
            world.settle();
        });
        tried.map_err(|panic| {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            TestCaseError::fail(why.unwrap_or_default())
        })
    });
    if let Err(err) = result {
        panic!("{err}");
    }
}
