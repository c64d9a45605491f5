//! `RecentRemovals`: names that went because something else was removed, for as long as the program that removes
//! may still come for them.
//!
//! A program lists a folder and then removes what it has seen. When it removes the original before its pages, or the
//! last recording before the folders above it, the rest has gone by itself already. For a moment it can still be
//! looked up and removed, and nothing else; then it is gone for lookups too. Memory only: nothing depends on it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{ConversationId, ConversationSeq, Day, Node};

/// How long after the last removal in a conversation its programs may come for the rest.
const GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(crate) struct RecentRemovals {
    conversations: Mutex<HashMap<ConversationSeq, Recent>>,
    /// Nearly always there are none, and lookups need not ask.
    are_some: AtomicBool,
}

#[derive(Debug)]
struct Recent {
    id: ConversationId,
    last: Instant,
    days: BTreeSet<Day>,
    /// What was removed by its own name: that is gone.
    gone: HashSet<Node>,
}

impl RecentRemovals {
    /// Somebody has removed a file of a day.
    pub(crate) fn note_file(&self, id: &ConversationId, day: (ConversationSeq, Day), node: Node) {
        let recent = |recent: &mut Recent| {
            recent.days.insert(day.1);
            recent.gone.insert(node);
        };
        self.note(id, day.0, recent);
    }

    /// Somebody has removed a folder that had gone with what was in it.
    pub(crate) fn note_folder(&self, id: &ConversationId, seq: ConversationSeq, folder: Node) {
        self.note(id, seq, |recent| {
            recent.gone.insert(folder);
        });
    }

    /// All of it, or a part of it, was brought back: what is removed from now on is removed anew.
    pub(crate) fn forget(&self, seq: ConversationSeq) {
        self.lock().remove(&seq);
    }

    /// Whether something in the conversation was removed of late.
    pub(crate) fn are_in(&self, seq: ConversationSeq) -> bool {
        self.is_recent(seq, |_| true)
    }

    fn note(&self, id: &ConversationId, seq: ConversationSeq, change: impl FnOnce(&mut Recent)) {
        let last = Instant::now();
        let mut conversations = self.lock();
        conversations.retain(|_, recent| recent.last.elapsed() < GRACE);
        let recent = conversations.entry(seq).or_insert_with(|| Recent {
            id: id.clone(),
            last,
            days: BTreeSet::new(),
            gone: HashSet::new(),
        });
        recent.last = last;
        change(recent);
        self.are_some.store(true, Ordering::Release);
    }

    /// Whether `node`, which is not to be seen, went of late with what was removed.
    pub(crate) fn covers(&self, node: Node) -> bool {
        let (seq, days) = match node {
            Node::Virtual(_) | Node::Inbox(_) | Node::Trashed(_) => return false,
            Node::Conversation(seq) => (seq, None),
            Node::Year(seq, year) => (seq, Some((year, None, None))),
            Node::Month(seq, year, month) => (seq, Some((year, Some(month), None))),
            Node::Day(seq, day) | Node::Transcript(seq, day) => (seq, Some(whole(day))),
            Node::Audio(id) | Node::Page(id, _) => (id.conversation, Some(whole(id.day))),
        };
        self.is_recent(seq, |recent| {
            let is_meant = |day: &Day| {
                days.is_none_or(|(year, month, date)| {
                    day.year() == year
                        && month.is_none_or(|month| day.month() == month)
                        && date.is_none_or(|date| day.day() == date)
                })
            };
            recent.days.iter().any(is_meant) && !recent.gone.contains(&node)
        })
    }

    /// The conversation that had that name until it was removed of late.
    pub(crate) fn conversation_named(&self, id: &ConversationId) -> Option<ConversationSeq> {
        if !self.are_some.load(Ordering::Acquire) {
            return None;
        }
        let conversations = self.lock();
        let found = conversations.iter().find(|(_, recent)| recent.id == *id);
        found.map(|(seq, _)| *seq)
    }

    fn is_recent(&self, seq: ConversationSeq, is_meant: impl FnOnce(&Recent) -> bool) -> bool {
        if !self.are_some.load(Ordering::Acquire) {
            return false;
        }
        let conversations = self.lock();
        let recent = conversations.get(&seq).filter(|recent| recent.last.elapsed() < GRACE);
        recent.is_some_and(is_meant)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConversationSeq, Recent>> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole(day: Day) -> (u16, Option<u8>, Option<u8>) {
    (day.year(), Some(day.month()), Some(day.day()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PageKind, RecordingId};

    #[test]
    fn what_went_with_its_original_can_be_removed_once() {
        let (seq, day) = (ConversationSeq(1), Day::from_ymd(2024, 1, 15).unwrap());
        let id = RecordingId { conversation: seq, day, number: 1 };
        let name = ConversationId::new("standup").unwrap();
        let removals = RecentRemovals::default();
        let (audio, page) = (Node::Audio(id), Node::Page(id, PageKind::Srt));
        assert!(!removals.covers(page));
        removals.note_file(&name, (seq, day), audio);
        assert!(!removals.covers(audio));
        for node in [page, Node::Day(seq, day), Node::Year(seq, 2024), Node::Conversation(seq)] {
            assert!(removals.covers(node), "{node:?}");
        }
        assert!(!removals.covers(Node::Month(seq, 2024, 2)));
        assert!(!removals.covers(Node::Page(
            RecordingId { conversation: ConversationSeq(2), ..id },
            PageKind::Srt
        )));
        removals.note_file(&name, (seq, day), page);
        removals.note_folder(&name, seq, Node::Day(seq, day));
        assert!(!removals.covers(page) && !removals.covers(Node::Day(seq, day)));
        assert_eq!(removals.conversation_named(&name), Some(seq));
        assert!(removals.are_in(seq));
        removals.forget(seq);
        assert!(!removals.are_in(seq) && !removals.covers(Node::Conversation(seq)));
    }
}
