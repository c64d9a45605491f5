//! Orders from `.scribefs/control` that take a while: done on a thread of their own, one after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use serde::Deserialize;

use crate::daemon::DaemonError;
use crate::index::{Index, IndexError};
use crate::model::{ConversationId, Day, FileName, PageKind, Recording, SpeakerId};
use crate::pipeline;
use crate::store::Store;

/// Orders that may wait. One more is refused: whoever writes that many can write them again.
const WAITING: usize = 64;

/// `name {"path": "standup/2024/01/15/meeting.json", "names": {"S1": "Anna"}}`
#[derive(Debug, Deserialize)]
struct NameOrder {
    /// Any file of the recording, below `conversations/`.
    path: String,
    /// An empty name takes one back.
    names: BTreeMap<SpeakerId, String>,
}

/// The thread and the way to it.
#[derive(Debug)]
pub(crate) struct Errands {
    sender: Mutex<Option<SyncSender<NameOrder>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Errands {
    pub(crate) fn start(store: Arc<dyn Store>, index: Index) -> Result<Self, DaemonError> {
        let (sender, orders) = sync_channel(WAITING);
        let thread = Builder::new()
            .name("errands".to_owned())
            .spawn(move || run(&orders, store.as_ref(), &index))
            .map_err(DaemonError::Threads)?;
        Ok(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Takes an order. `false`: it is none that we know, or too many wait.
    pub(crate) fn take(&self, verb: &str, rest: &str) -> bool {
        if verb != "name" {
            return false;
        }
        let Ok(order) = serde_json::from_str::<NameOrder>(rest) else { return false };
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match sender.as_ref().map(|sender| sender.try_send(order)) {
            Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_))) => {
                log::warn!("an order was refused: {WAITING} are waiting");
                false
            }
            Some(Err(TrySendError::Disconnected(_))) | None => false,
        }
    }

    pub(crate) fn stop(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread of errands has panicked");
        }
    }
}

fn run(orders: &Receiver<NameOrder>, store: &dyn Store, index: &Index) {
    for order in orders {
        let recording = match find(index, &order.path) {
            Ok(Some(recording)) => recording,
            Ok(None) => {
                log::warn!("names were given for {}, which is no recording", order.path);
                continue;
            }
            Err(err) => {
                log::error!("names could not be given: {err}");
                continue;
            }
        };
        if let Err(err) = pipeline::name_speakers(store, index, recording.id, &order.names) {
            log::warn!("{}: names could not be given: {err}", recording.audio.key);
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
