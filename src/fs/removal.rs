//! How `rm -r` of a conversation works although its files are read-only.
//!
//! `rm -r` opens the folder, removes what is in it one by one, and the folder last. So a process that has
//! opened a conversation's own folder may remove what is below: it is only hidden, in memory. When the
//! folder itself is removed, the conversation goes to the trash as a whole; when that does not happen
//! soon, everything is shown again. A stray `rm conversations/x/2024/01/15/meeting.srt` has opened
//! nothing and is refused.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{ConversationSeq, Node};

/// How long after it has opened a conversation's folder a process may begin to remove it.
const OPENED_RECENTLY: Duration = Duration::from_secs(60);

/// How long what is hidden stays so without another removal.
const HIDDEN_FOR: Duration = Duration::from_secs(30);

/// Most openings that are remembered; the oldest go first.
const OPENINGS: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Removals {
    state: Mutex<State>,
    /// Nearly always nothing is hidden, and listings need not ask.
    anything_hidden: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// By thread: the kernel names no process. The times grow with the places.
    openings: std::collections::VecDeque<Opening>,
    hidden: HashMap<ConversationSeq, Hidden>,
}

#[derive(Debug)]
struct Opening {
    conversation: ConversationSeq,
    thread: u32,
    at: Instant,
}

#[derive(Debug)]
struct Hidden {
    nodes: HashSet<Node>,
    last: Instant,
}

impl Removals {
    /// Somebody has opened a conversation's own folder.
    pub(crate) fn note_opened(&self, conversation: ConversationSeq, thread: u32) {
        let at = Instant::now();
        let mut state = self.lock();
        while state.openings.len() >= OPENINGS
            || state.openings.front().is_some_and(|old| OPENED_RECENTLY < at - old.at)
        {
            state.openings.pop_front();
        }
        state.openings.push_back(Opening { conversation, thread, at });
    }

    /// Whether the process of `thread` is about to remove the whole conversation, as far as one can tell.
    pub(crate) fn is_removing(&self, conversation: ConversationSeq, thread: u32) -> bool {
        let now = Instant::now();
        let state = self.lock();
        let has_begun = state.hidden.contains_key(&conversation);
        let openers: Vec<u32> = state
            .openings
            .iter()
            .filter(|opening| opening.conversation == conversation)
            .filter(|opening| has_begun || now - opening.at <= OPENED_RECENTLY)
            .map(|opening| opening.thread)
            .collect();
        drop(state);
        if openers.contains(&thread) {
            return true;
        }
        let process = process_of(thread);
        process.is_some() && openers.iter().any(|opener| process_of(*opener) == process)
    }

    pub(crate) fn hide(&self, conversation: ConversationSeq, node: Node) {
        let last = Instant::now();
        let mut state = self.lock();
        let hidden = state
            .hidden
            .entry(conversation)
            .or_insert_with(|| Hidden { nodes: HashSet::new(), last });
        hidden.nodes.insert(node);
        hidden.last = last;
        self.anything_hidden.store(true, Ordering::Release);
    }

    pub(crate) fn is_hidden(&self, conversation: ConversationSeq, node: Node) -> bool {
        if !self.anything_hidden.load(Ordering::Acquire) {
            return false;
        }
        let state = self.lock();
        state.hidden.get(&conversation).is_some_and(|hidden| hidden.nodes.contains(&node))
    }

    /// The conversation is in the trash: nothing of it has to be hidden any longer.
    pub(crate) fn forget(&self, conversation: ConversationSeq) {
        let mut state = self.lock();
        state.hidden.remove(&conversation);
        state.openings.retain(|opening| opening.conversation != conversation);
        self.anything_hidden.store(!state.hidden.is_empty(), Ordering::Release);
    }

    /// Takes away what was hidden too long, to be shown again. To be called about twice a second.
    pub(crate) fn lapsed(&self) -> Vec<Node> {
        if !self.anything_hidden.load(Ordering::Acquire) {
            return Vec::new();
        }
        let now = Instant::now();
        let mut state = self.lock();
        let lapsed = state.hidden.extract_if(|_, hidden| HIDDEN_FOR < now - hidden.last);
        let nodes: Vec<Node> = lapsed.flat_map(|(_, hidden)| hidden.nodes).collect();
        self.anything_hidden.store(!state.hidden.is_empty(), Ordering::Release);
        nodes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process that a thread belongs to, while it lives.
fn process_of(thread: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Day;

    const HERE: ConversationSeq = ConversationSeq(1);

    #[test]
    fn only_who_has_opened_the_folder_may_remove() {
        let removals = Removals::default();
        removals.note_opened(HERE, 4_000_001);
        assert!(removals.is_removing(HERE, 4_000_001));
        assert!(!removals.is_removing(HERE, 4_000_002));
        assert!(!removals.is_removing(ConversationSeq(2), 4_000_001));
    }

    #[test]
    fn another_thread_of_the_same_process_may_go_on() {
        // SAFETY: gettid only reads a number.
        let thread_id = || u32::try_from(unsafe { libc::gettid() }).unwrap();
        let removals = Removals::default();
        removals.note_opened(HERE, thread_id());
        let other = std::thread::spawn(thread_id).join().unwrap();
        assert_ne!(other, thread_id());
        // The other thread is gone, and with it the way to its process.
        assert!(!removals.is_removing(HERE, other));
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(removals.is_removing(HERE, thread_id())));
        });
    }

    #[test]
    fn what_is_hidden_is_forgotten_with_its_conversation() {
        let removals = Removals::default();
        let node = Node::Day(HERE, Day::from_ymd(2024, 1, 15).unwrap());
        removals.hide(HERE, node);
        assert!(removals.is_hidden(HERE, node));
        assert!(removals.lapsed().is_empty());
        removals.forget(HERE);
        assert!(!removals.is_hidden(HERE, node));
    }
}
