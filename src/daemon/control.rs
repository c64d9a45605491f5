//! Orders from `.scribefs/control` that take a while: done on a thread of their own, one after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use serde::Deserialize;

use crate::daemon::DaemonError;
use crate::fs::CommandError;
use crate::index::{Index, IndexError};
use crate::model::{
    self, ConversationId, Day, FileName, PageKind, Recording, RecordingId, SpeakerId,
};
use crate::publishing;
use crate::store::Store;

/// Orders that may wait. One more is refused: whoever writes that many can write them again.
const WAITING: usize = 64;

/// `name {"path": "standup/2024/01/15/meeting.json", "names": {"S1": "Anna"}}`
#[derive(Debug, Deserialize)]
struct NameRequest {
    /// Any file of the recording, below `conversations/`.
    path: String,
    /// An empty name takes one back.
    names: BTreeMap<SpeakerId, String>,
}

/// A checked order: the recording is there, and so are the speakers.
#[derive(Debug)]
struct CheckedNames {
    recording: RecordingId,
    names: BTreeMap<SpeakerId, String>,
}

/// The thread and the way to it.
#[derive(Debug)]
pub(crate) struct ControlCommands {
    sender: Mutex<Option<SyncSender<CheckedNames>>>,
    index: Index,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ControlCommands {
    pub(crate) fn start(store: Arc<dyn Store>, index: Index) -> Result<Self, DaemonError> {
        let (sender, orders) = sync_channel(WAITING);
        let runs_with = index.clone();
        let thread = Builder::new()
            .name("control".to_owned())
            .spawn(move || run(&orders, store.as_ref(), &runs_with))
            .map_err(DaemonError::Threads)?;
        let (sender, thread) = (Mutex::new(Some(sender)), Mutex::new(Some(thread)));
        Ok(Self { sender, index, thread })
    }

    /// Takes an order that can be carried out; what cannot is refused while its writer still listens.
    pub(crate) fn take(&self, verb: &str, rest: &str) -> Result<(), CommandError> {
        if verb != "name" {
            return Err(CommandError::Unknown);
        }
        let order: NameRequest = serde_json::from_str(rest).map_err(|_| CommandError::Unknown)?;
        let found = find(&self.index, &order.path).map_err(|err| {
            log::error!("name: the index could not be asked: {err}");
            CommandError::Busy
        })?;
        let recording = found.ok_or(CommandError::NoRecording)?;
        if order.names.keys().any(|speaker| recording.speakers <= u32::from(speaker.0)) {
            return Err(CommandError::NoSpeaker);
        }
        let naming = CheckedNames { recording: recording.id, names: order.names };
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = sender.as_ref().map(|sender| sender.try_send(naming));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                Err(CommandError::Busy)
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread for control commands has panicked");
        }
    }
}

fn run(orders: &Receiver<CheckedNames>, store: &dyn Store, index: &Index) {
    for CheckedNames { recording, names } in orders {
        if let Err(err) = publishing::name_speakers(store, index, recording, &names) {
            log::warn!(
                "name: {recording}: its pages could not be rewritten: {}",
                model::causes(&err)
            );
        }
    }
}

/// The recording that a path `<conversation>/<yyyy>/<mm>/<dd>/<file>` belongs to.
fn find(index: &Index, path: &str) -> Result<Option<Recording>, IndexError> {
    let mut parts = Path::new(path).components().map(|part| part.as_os_str().to_string_lossy());
    let (Some(id), Some(year), Some(month), Some(day), Some(file), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let day = year.parse().ok().zip(month.parse().ok()).zip(day.parse().ok());
    let day = day.and_then(|((year, month), day)| Day::from_ymd(year, month, day));
    let Some((id, day)) = ConversationId::new(&id).zip(day) else { return Ok(None) };
    let Some(conversation) = index.conversation_named(&id)? else { return Ok(None) };
    let recordings = index.recordings(conversation.seq, day)?;
    Ok(recordings.into_iter().find(|recording| has_file(recording, &file)))
}

fn has_file(recording: &Recording, file: &str) -> bool {
    let page = |kind: &PageKind| {
        let name = [recording.stem.as_bytes(), kind.suffix().as_bytes()].concat();
        FileName::new(name).is_some_and(|name| name.display() == file)
    };
    recording.audio_name.display() == file || PageKind::ALL.iter().any(page)
}
