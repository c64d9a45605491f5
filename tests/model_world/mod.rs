//! What both sides of the model test share: the operations done for real, by two drivers.

pub(crate) mod mounted;
pub(crate) mod naive;
pub(crate) mod operation;
pub(crate) mod plain;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use scribefs::fs::FsContext;
use scribefs::model::{ConversationId, ConversationSeq, Failure, FailureCause};
use scribefs::spool::{Dropped, SpoolError, SpoolEvent};

use crate::common;
use naive::{Before, Naive, Outcome, RENAMED, REWRITTEN};
use operation::{End, Operation, Rename};

/// For what the daemon does by itself, and the kernel hears of a moment later.
const PATIENCE: Duration = Duration::from_secs(30);

/// One entry of the inbox as it is seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Folder,
    Link,
    File(Vec<u8>),
    /// Listed, and gone when it was looked at: right for a moment only.
    Missing,
}

/// How operations on the inbox and on conversations are done for real.
pub(crate) trait Inbox {
    fn write(&mut self, path: &str, bytes: &[u8]) -> Outcome;
    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Outcome;
    fn truncate(&mut self, path: &str, length: u64) -> Outcome;
    fn make_folder(&mut self, path: &str) -> Outcome;
    fn make_link(&mut self, path: &str) -> Outcome;
    fn remove_folder(&mut self, path: &str) -> Outcome;
    fn remove(&mut self, path: &str) -> Outcome;
    fn rename(&mut self, from: &str, to: &str, how: Rename) -> Outcome;
    /// Sets the modification time, as `touch` does.
    fn touch(&mut self, path: &str) -> Outcome;
    fn commit(&mut self, path: &str) -> Outcome;
    /// Opens for writing and keeps open.
    fn hold(&mut self, path: &str) -> Outcome;
    /// Appends to the file that was opened last.
    fn write_held(&mut self, bytes: &[u8]) -> Outcome;
    fn release(&mut self);
    fn held(&self) -> Vec<Vec<u8>>;
    fn tree(&self) -> BTreeMap<String, Seen>;
    /// Audio of each conversation as `dd/name`.
    fn conversations(&self) -> BTreeMap<String, Vec<String>>;
    fn trash(&self) -> BTreeMap<String, Vec<String>>;
    fn rename_conversation(&mut self, from: &str, to: &str) -> Outcome;
    fn trash_conversation(&mut self, id: &str) -> Outcome;
    fn restore_conversation(&mut self, id: &str, to: &str) -> Outcome;
    fn restart(&mut self);
    fn services(&self) -> &FsContext;
    /// Whether both came to the same: a driver below the kernel chooses no errno.
    fn agrees(&self, wanted: Outcome, got: Outcome) -> bool;
}

/// A driver, and what the spool says meanwhile.
pub(crate) struct Rig<I> {
    pub(crate) inbox: I,
    events: Receiver<SpoolEvent>,
}

impl<I: Inbox> Rig<I> {
    pub(crate) fn new(inbox: I) -> Self {
        let events = inbox.services().spool.subscribe();
        Self { inbox, events }
    }

    /// Does it for real. `before`: what the model knew of the moment before.
    pub(crate) fn apply(&mut self, operation: &Operation, before: &Before) -> Outcome {
        let inbox = &mut self.inbox;
        match operation {
            Operation::Write { path, bytes } => inbox.write(path, bytes),
            Operation::WriteAt { path, offset, bytes } => inbox.write_at(path, *offset, bytes),
            Operation::Truncate { path, length } => inbox.truncate(path, *length),
            Operation::MakeFolder { path } => inbox.make_folder(path),
            Operation::RemoveFolder { path } => inbox.remove_folder(path),
            Operation::Remove { path } | Operation::RemoveLink { path } => inbox.remove(path),
            Operation::Rename { from, to, how } => inbox.rename(from, to, *how),
            Operation::Link { path } => inbox.make_link(path),
            Operation::Hold { path } => inbox.hold(path),
            Operation::WriteHeld { bytes } => inbox.write_held(bytes),
            Operation::Release => {
                inbox.release();
                Ok(())
            }
            Operation::Job { path, end } => self.job(path, *end, before),
            Operation::RenameConversation { from, to } => inbox.rename_conversation(from, to),
            Operation::Trash { conversation } => self.trash(conversation),
            Operation::Restore { conversation, to } => inbox.restore_conversation(conversation, to),
            Operation::Restart => {
                inbox.restart();
                self.events = self.inbox.services().spool.subscribe();
                Ok(())
            }
        }
    }

    /// As in the model, a second one of a name does not come into the trash here.
    fn trash(&mut self, conversation: &str) -> Outcome {
        if self.inbox.trash().contains_key(conversation) {
            return Err(libc::EEXIST);
        }
        self.inbox.trash_conversation(conversation)
    }

    /// What the daemon does with a file whose settle time is over.
    fn job(&mut self, path: &str, end: End, before: &Before) -> Outcome {
        let Some(bytes) = &before.recording else { return Ok(()) };
        self.inbox.commit(path)?;
        let dropped = self.offered(path);
        let spool = self.inbox.services().spool.clone();
        let mut taken = spool.take(dropped.id, dropped.generation).expect("it was offered");
        let mut read = Vec::new();
        taken.read_to_end(&mut read).expect("it is a file");
        assert_eq!(&read, bytes, "{path}");
        match end {
            End::Published { conversation, day } => {
                let day = common::day(2024, 1, day);
                common::publish(self.inbox.services(), conversation, day, "monday.wav");
                spool.finish(dropped.id, dropped.generation).expect("nobody has touched it");
            }
            End::Written => {
                self.inbox.write(path, REWRITTEN)?;
                let left = spool.finish(dropped.id, dropped.generation);
                assert!(matches!(left, Err(SpoolError::Changed)), "{left:?}");
            }
            End::Removed => {
                self.inbox.remove(path)?;
                let left = spool.finish(dropped.id, dropped.generation);
                assert!(matches!(left, Err(SpoolError::Changed | SpoolError::Missing)), "{left:?}");
            }
            failed => self.fail(path, &dropped, failed, before)?,
        }
        Ok(())
    }

    fn fail(&mut self, path: &str, dropped: &Dropped, end: End, before: &Before) -> Outcome {
        let spool = self.inbox.services().spool.clone();
        let failure = Failure {
            cause: FailureCause::NotAudio,
            message: "There is no sound in it.".to_owned(),
            remedy: "Drop another file.".to_owned(),
        };
        spool.fail(dropped.id, dropped.generation, &failure).expect("nobody has touched it");
        let note = |path: &str| format!("{path}.error.txt");
        self.wait_for("the note", |tree| tree.contains_key(&note(path)));
        match end {
            End::FailedThenTouched => self.inbox.touch(path)?,
            End::FailedThenRewritten => self.inbox.write(path, REWRITTEN)?,
            End::FailedThenRemoved => self.inbox.remove(path)?,
            // The place is taken: then the recording is tried again where it is.
            _ if !before.is_renamed_free => self.inbox.touch(path)?,
            _ => {
                self.inbox.rename(path, RENAMED, Rename::NoReplace)?;
                self.wait_for("the note to follow", |tree| {
                    tree.contains_key(&note(RENAMED)) && !tree.contains_key(&note(path))
                });
                self.inbox.remove(RENAMED)?;
                self.wait_for("the note to go too", |tree| !tree.contains_key(&note(RENAMED)));
            }
        }
        self.wait_for("the note to go", |tree| !tree.contains_key(&note(path)));
        Ok(())
    }

    fn offered(&self, path: &str) -> Dropped {
        loop {
            match self.events.recv_timeout(common::PATIENCE) {
                Ok(SpoolEvent::Ready(dropped)) => {
                    let names: Vec<String> =
                        dropped.path.iter().map(|name| name.display()).collect();
                    if names.join("/") == path {
                        return dropped;
                    }
                }
                Ok(_) => {}
                Err(err) => panic!("{path} was not offered: {err}"),
            }
        }
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&BTreeMap<String, Seen>) -> bool) {
        let begun = Instant::now();
        loop {
            let tree = self.inbox.tree();
            if is_so(&tree) {
                return;
            }
            let names: Vec<&String> = tree.keys().collect();
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}: {names:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The kernel may know a moment later what the daemon has done by itself.
    pub(crate) fn compare(&self, model: &Naive) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let difference = self.difference(model);
            match difference {
                None => return Ok(()),
                Some(_) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Some(difference) => return Err(difference),
            }
        }
    }

    fn difference(&self, model: &Naive) -> Option<String> {
        let (wanted, got) = (model.tree(), self.inbox.tree());
        if wanted != got {
            return Some(format!("inbox: {:?}, not {:?}", short(&got), short(&wanted)));
        }
        if model.held() != self.inbox.held() {
            return Some("an open file has other bytes".to_owned());
        }
        for (what, wanted, got) in [
            ("conversations", &model.conversations, self.inbox.conversations()),
            ("trash", &model.trash, self.inbox.trash()),
        ] {
            let wanted: BTreeMap<String, Vec<String>> =
                wanted.iter().map(|(name, files)| (name.clone(), sorted(files))).collect();
            let got: BTreeMap<String, Vec<String>> =
                got.iter().map(|(name, files)| (name.clone(), sorted(files))).collect();
            if wanted != got {
                return Some(format!("{what}: {got:?}, not {wanted:?}"));
            }
        }
        None
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names
}

fn short(tree: &BTreeMap<String, Seen>) -> Vec<String> {
    tree.iter()
        .map(|(path, seen)| match seen {
            Seen::File(bytes) => format!("{path} ({} bytes)", bytes.len()),
            Seen::Folder => format!("{path}/"),
            Seen::Link => format!("{path} ->"),
            Seen::Missing => format!("{path} (listed, but not there)"),
        })
        .collect()
}

/// The recordings of the index by conversation, as both drivers show them.
pub(crate) fn in_index(services: &FsContext, trashed: bool) -> BTreeMap<String, Vec<String>> {
    let index = &services.index;
    let conversations = match trashed {
        true => index.trashed_conversations().unwrap(),
        false => index.conversations(ConversationSeq(0), usize::MAX).unwrap(),
    };
    let mut found = BTreeMap::new();
    for conversation in conversations {
        let mut names = Vec::new();
        for day in index.filed_days(conversation.seq).unwrap() {
            for recording in index.filed_recordings(conversation.seq, day).unwrap() {
                names.push(format!("{:02}/{}", day.day(), recording.audio_name.display()));
            }
        }
        found.insert(conversation.id.to_string(), names);
    }
    found
}

pub(crate) fn conversation(services: &FsContext, id: &str) -> Result<ConversationSeq, i32> {
    let id = ConversationId::new(id).unwrap();
    let found = services.index.conversation_named(&id).unwrap();
    found.map(|it| it.seq).ok_or(libc::ENOENT)
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
