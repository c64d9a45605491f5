//! Tells the kernel what it must forget, and `.scribefs/events` what has happened.
//!
//! Two threads of their own, one for each source of news: the kernel may take a lock for an invalidation
//! that it also holds while it waits for one of our answers, so no handler may do this, and no lock of
//! ours may be held meanwhile. The kernel is told first: who reads of an event sees what it speaks of.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

use fuser::{INodeNo, Notifier};
use jiff::Timestamp;
use serde_json::json;

use crate::fs::archive::parent_of;
use crate::fs::control::shown;
use crate::fs::errno::FsError;
use crate::fs::news;
use crate::fs::tree::Tree;
use crate::index::Change;
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, FileName, InboxId, JobState, Node,
    Recording, VirtualNode,
};
use crate::spool::SpoolEvent;
use crate::view;

/// How often what has no event of its own is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Rest after news of the inbox: what comes in a burst is then told in one go, and those whose calls make the news
/// do not pay for waking us each time. What is published is told at once: it is looked for when it has left
/// the inbox.
const REST: Duration = Duration::from_millis(10);

const CONVERSATIONS: Node = Node::Virtual(VirtualNode::Conversations);
const TRASH: Node = Node::Virtual(VirtualNode::Trash);

pub(crate) struct Herald {
    is_stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Teller {
    kernel: Notifier,
    tree: Arc<Tree>,
}

impl Herald {
    pub(crate) fn start(
        kernel: Notifier,
        tree: &Arc<Tree>,
        changes: Receiver<Change>,
        drops: Receiver<SpoolEvent>,
    ) -> io::Result<Self> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let teller = Teller { kernel, tree: tree.clone() };
        let mut herald = Self { is_stopping, threads: Vec::new() };
        let of_index = teller.clone();
        herald.spawn("fs-published", changes, Duration::ZERO, move |change| match change {
            Some(change) => of_index.tell_change(&change),
            None => of_index.tick(),
        })?;
        herald.spawn("fs-dropped", drops, REST, move |event| {
            if let Some(SpoolEvent::Stage { id, path, state }) = event {
                teller.tell_stage(id, &path, state);
            }
        })?;
        Ok(herald)
    }

    /// `tell` hears each piece of news, and `None` whenever there was none for a tick. After news it has a rest.
    fn spawn<News: Send + 'static>(
        &mut self,
        name: &str,
        news: Receiver<News>,
        rest: Duration,
        tell: impl Fn(Option<News>) + Send + 'static,
    ) -> io::Result<()> {
        let is_stopping = self.is_stopping.clone();
        let listen = move || {
            while !is_stopping.load(Ordering::Relaxed) {
                match news.recv_timeout(TICK) {
                    Ok(piece) => {
                        tell(Some(piece));
                        news.try_iter().for_each(|piece| tell(Some(piece)));
                        thread::sleep(rest);
                    }
                    Err(RecvTimeoutError::Timeout) => tell(None),
                    Err(RecvTimeoutError::Disconnected) => {
                        tell(None);
                        thread::park_timeout(TICK);
                    }
                }
            }
        };
        self.threads.push(Builder::new().name(name.into()).spawn(listen)?);
        Ok(())
    }

    pub(crate) fn stop(self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.thread().unpark();
            if thread.join().is_err() {
                log::error!("mount: a thread that tells the kernel of changes has panicked");
            }
        }
    }
}

/// To the kernel.
impl Teller {
    /// Attributes, bytes and listing of a node are not what they were.
    fn changed(&self, node: Node) {
        let told = self.kernel.inval_inode(INodeNo(node.inode().0), 0, 0);
        self.note(told);
    }

    /// A name is there that was not, or the other way round. Not for folders that stay: who stands in one
    /// would find it gone.
    fn renamed(&self, folder: Node, name: &OsStr) {
        let told = self.kernel.inval_entry(INodeNo(folder.inode().0), name);
        self.note(told);
    }

    /// What cannot be told ends by itself, in the second or the day that the kernel was promised.
    fn note(&self, told: io::Result<()>) {
        if let Err(err) = told {
            log::debug!("mount: the kernel did not take an invalidation: {err}");
        }
    }

    /// What was hidden is shown again, and readers were held long enough.
    fn tick(&self) {
        self.tree.events.tick();
        for node in self.tree.archive.removals.lapsed() {
            self.changed(node);
            self.changed(parent_of(node));
        }
    }
}

/// Of what is published.
impl Teller {
    fn tell_change(&self, change: &Change) {
        self.forget_what_changed(change).unwrap_or_else(|err| {
            log::warn!("mount: listings may be old for a day, the index failed: {err}");
        });
        self.tree.events.append(&news::line(&self.tree.archive, change));
    }

    fn forget_what_changed(&self, change: &Change) -> Result<(), FsError> {
        match change {
            Change::Published { recording, new_conversation, new_day } => {
                let conversation = self.conversation_of(recording)?;
                self.forget_day(&conversation, recording)?;
                if *new_day || *new_conversation {
                    self.forget_way_to(&conversation, recording.id.day)?;
                }
            }
            Change::Replaced { recording } => {
                self.forget_day(&self.conversation_of(recording)?, recording)?;
            }
            Change::Removed { recording, conversation, last_of_day, .. } => {
                self.forget_day(conversation, recording)?;
                if *last_of_day {
                    self.forget_way_to(conversation, recording.id.day)?;
                }
            }
            Change::DayTranscript { conversation, day } => {
                self.changed(Node::Transcript(*conversation, *day));
                self.changed(Node::Day(*conversation, *day));
            }
            Change::Renamed { seq, from, to: _ } => {
                self.forget_folder(from);
                self.forget_transcripts(*seq, from)?;
            }
            Change::Trashed { id, .. } | Change::Restored { id, .. } => self.forget_folder(id),
            Change::Placed { .. } | Change::Job(_) => {}
        }
        Ok(())
    }

    fn conversation_of(&self, recording: &Recording) -> Result<Conversation, FsError> {
        self.tree.archive.conversation(recording.id.conversation)
    }

    /// A conversation came or went under that name. Folders of the trash that met it there get other names;
    /// those are never promised for longer than a second.
    fn forget_folder(&self, id: &ConversationId) {
        for folder in [CONVERSATIONS, TRASH] {
            self.renamed(folder, OsStr::from_bytes(&id.name()));
            self.changed(folder);
        }
    }

    fn forget_day(
        &self,
        conversation: &Conversation,
        recording: &Recording,
    ) -> Result<(), FsError> {
        let (seq, day) = (recording.id.conversation, recording.id.day);
        let transcript = self.tree.archive.index.filed_transcript(seq, day)?;
        let recordings = std::slice::from_ref(recording);
        for entry in view::day_entries(conversation, transcript.as_ref(), recordings) {
            self.changed(entry.attributes.node);
            self.renamed(Node::Day(seq, day), entry.name.as_os_str());
        }
        self.changed(Node::Day(seq, day));
        Ok(())
    }

    /// The folders down to a day that is new or gone: of those above it, the ones that have no other.
    fn forget_way_to(&self, conversation: &Conversation, day: Day) -> Result<(), FsError> {
        let seq = conversation.seq;
        let days = self.tree.archive.index.filed_days(seq)?;
        let in_year = days.iter().filter(|other| other.year() == day.year());
        let in_month = in_year.clone().filter(|other| other.month() == day.month());
        let month = Node::Month(seq, day.year(), day.month());
        self.renamed(month, format!("{:02}", day.day()).as_ref());
        self.changed(month);
        let year = Node::Year(seq, day.year());
        if in_month.count() <= 1 {
            self.renamed(year, format!("{:02}", day.month()).as_ref());
            self.changed(year);
        }
        if in_year.count() <= 1 {
            let name = format!("{:04}", day.year());
            self.renamed(Node::Conversation(seq), name.as_ref());
            self.changed(Node::Conversation(seq));
        }
        if days.len() <= 1 {
            self.forget_folder(&conversation.id);
        }
        Ok(())
    }

    /// A transcript is named after its conversation.
    fn forget_transcripts(
        &self,
        seq: ConversationSeq,
        old: &ConversationId,
    ) -> Result<(), FsError> {
        let mut conversation = self.tree.archive.conversation(seq)?;
        conversation.id = old.clone();
        for day in self.tree.archive.index.filed_days(seq)? {
            let transcript = self.tree.archive.index.filed_transcript(seq, day)?;
            for entry in view::day_entries(&conversation, transcript.as_ref(), &[]) {
                self.renamed(Node::Day(seq, day), entry.name.as_os_str());
            }
            self.changed(Node::Day(seq, day));
        }
        Ok(())
    }
}

/// Of the inbox.
impl Teller {
    fn tell_stage(&self, id: InboxId, path: &[FileName], state: JobState) {
        if state.is_final() {
            self.forget_drop(id, path);
        }
        let at = Timestamp::now().to_string();
        let line =
            json!({ "event": "inbox", "path": shown(path), "state": state.as_str(), "at": at });
        self.tree.events.append(&line);
    }

    /// The file may be gone, a note may be there, and folders that are empty now are gone too.
    fn forget_drop(&self, id: InboxId, path: &[FileName]) {
        self.changed(Node::Inbox(id));
        for depth in (0..path.len()).rev() {
            let (folders, name) = (&path[..depth], &path[depth]);
            let folder: PathBuf = folders.iter().map(FileName::as_os_str).collect();
            let parent = match folders {
                [] => Some(InboxId::ROOT),
                _ => self.tree.spool.find(&folder).ok(),
            };
            let Some(parent) = parent else { continue };
            self.renamed(Node::Inbox(parent), name.as_os_str());
            let note = [name.as_bytes(), b".error.txt"].concat();
            if let Some(note) = FileName::new(note) {
                self.renamed(Node::Inbox(parent), note.as_os_str());
            }
            self.changed(Node::Inbox(parent));
            break;
        }
    }
}
