//! What there is, where it is and what is still to do: redb tables behind typed questions.
//!
//! The index can be rebuilt from the store. One writer thread commits for everybody (group commit), with
//! quick repair, so that opening after a crash does not walk the tree. Readers open short transactions
//! and hold none between calls.

mod change;
mod claims;
mod conversations;
mod creation;
mod damage;
mod database;
mod discovering;
#[cfg(test)]
pub(crate) mod failing_disk;
mod failure;
mod filing;
mod following;
mod inventory;
mod jobs;
mod newest;
mod numbering;
mod pages_due;
mod placement_api;
mod placing;
mod purge_log;
mod purging;
mod queries;
mod rebuilding;
mod removal;
mod removals_due;
mod reservations;
mod reserved;
mod role;
mod same_audio;
mod subscribers;
mod tables;
mod transcripts;
mod trash;
mod trash_age;
mod trash_rows;
mod trashing;
mod verified;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

pub use crate::index::change::Change;
pub use crate::index::claims::Claim;
pub use crate::index::damage::{
    forget_rebuilds, is_panic_contained, is_rebuild_due, may_rebuild_help, rebuild_is_done,
};
pub use crate::index::discovering::Discovered;
pub use crate::index::following::{Followed, Surveying};
pub use crate::index::inventory::FiledDay;
pub use crate::index::pages_due::{DayText, DueEntry, PageWork, PagesDue};
pub use crate::index::placement_api::Copy;
pub use crate::index::queries::Totals;
pub use crate::index::removals_due::RemovalDue;
pub use crate::index::reservations::Reservation;
pub use crate::index::subscribers::ChangeQueue;
pub use crate::index::trash::{TrashEntry, TrashPlace, Trashed};
pub use crate::index::verified::Verification;

use crate::index::damage::{Damage, contain};
use crate::index::database::{Opened, Opener};
use crate::index::purge_log::PurgeLog;
use crate::index::queries::Snapshot;
use crate::index::reservations::Reservations;
use crate::index::subscribers::Subscribers;
use crate::index::writer::{Listeners, Writer};
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, Job, Recording,
    RecordingId, StateRole,
};

/// What went wrong in the index, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another daemon has it open.
    #[error("index {path} is in use by another scribefs")]
    InUse { path: String },
    /// A newer version has written it.
    #[error("index has format {found}, but this scribefs reads formats up to {known}")]
    TooNew { found: u32, known: u32 },
    /// It can be rebuilt from the store: `scribefs reindex`.
    #[error("index is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk is full. Nothing was changed, and the same can be asked for again when there is room.
    #[error("the disk of the index is full")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk refused; the process must not go on writing.
    #[error("index could not be written")]
    Disk(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no such conversation")]
    NoConversation,
    #[error("the conversation `{0}` already exists")]
    NameTaken(ConversationId),
    /// A recording was to be published under a stem that was not reserved for it.
    #[error("there are already files named after `{}` on that day", .0.display())]
    StemTaken(FileName),
    /// The state folder is another role's.
    #[error("this state folder is {found}")]
    OtherRole { found: StateRole },
    /// Where recordings belong was changed, and some are only where they belonged before.
    #[error(
        "{count} recordings are only in {place}: bring them back with `scribefs migrate --to local` first"
    )]
    OnlyInBucket { count: u64, place: String },
    /// Numbers for conversations have run out.
    #[error("no numbers are left")]
    NumbersExhausted,
    /// A day of a conversation has as many recordings as it can have.
    #[error("the conversation is full on that day")]
    DayFull,
}

/// Bytes of a file that is checked whenever it is opened: that of some 20,000 recordings.
const CHECKED_BYTES: u64 = 64 << 20;

/// The index of one state directory.
#[derive(Debug, Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Arc<Opened>,
    writer: Writer,
    subscribers: Arc<Subscribers>,
    reservations: Arc<Reservations>,
    damage: Arc<Damage>,
    purge_log: PurgeLog,
    /// The last job number given out.
    last_job: AtomicU64,
}

/// Opening, listening and closing.
impl Index {
    /// Opens or makes it. Of a file of common size every page is checked, which takes a tenth of a second; damage in a
    /// larger one is found when its page is read.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        Self::open_at(path, CHECKED_BYTES)
    }

    /// Opens it, and checks every page: that takes as long as reading the file.
    pub fn open_checked(path: &Path) -> Result<Self, IndexError> {
        Self::open_at(path, u64::MAX)
    }

    fn open_at(path: &Path, checked_bytes: u64) -> Result<Self, IndexError> {
        if !path.exists() {
            creation::create(path)?;
        }
        let is_checked = path.metadata().is_ok_and(|stat| stat.len() <= checked_bytes);
        let (damage, purge_log) = (Damage::of(path), PurgeLog::beside(path));
        let path = path.to_owned();
        contain(|| {
            if is_checked {
                creation::check_pages(&path)?;
            }
            let name = path.clone();
            let opened = Self::on(Box::new(move || creation::database(&name)), damage, purge_log);
            match opened {
                // Of a damaged page any number may come.
                Err(IndexError::TooNew { .. }) if !is_checked => {
                    creation::check_pages(&path)?;
                    opened
                }
                opened => opened,
            }
        })
    }

    fn on(open: Opener, damage: Damage, purge_log: PurgeLog) -> Result<Self, IndexError> {
        let (database, damage) = (Arc::new(Opened::new(open)?), Arc::new(damage));
        creation::check_format(&*database.for_writing()?)?;
        let last_job = Snapshot(database.begin_read()?).last_job()?;
        let subscribers = Arc::<Subscribers>::default();
        let listeners =
            Listeners { subscribers: subscribers.clone(), purge_log: purge_log.clone() };
        let writer = Writer::start(database.clone(), listeners, damage.clone())?;
        let inner = Inner {
            database,
            writer,
            subscribers,
            reservations: Arc::default(),
            damage,
            purge_log,
            last_job: AtomicU64::new(last_job.0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Durable commits since it was opened: each costs the disk two flushes.
    pub fn commits(&self) -> u64 {
        self.inner.subscribers.commits.load(Ordering::Relaxed)
    }

    /// Every change from now on. A slow reader blocks nobody: one that falls far behind is told that it has missed some.
    pub fn subscribe(&self) -> ChangeQueue {
        self.inner.subscribers.subscribe()
    }

    /// All [`ChangeQueue`]s of [`Index::subscribe`] come to their end: their threads are to be joined.
    pub fn end_subscriptions(&self) {
        self.inner.subscribers.end();
    }

    /// Waits for what is being committed, and lets nothing new begin: from now on everything is refused.
    pub fn close(&self) -> Result<(), IndexError> {
        self.inner.writer.close();
        contain(|| self.inner.database.close())
    }

    /// One question, of one moment.
    fn ask<T>(
        &self,
        question: impl FnOnce(&Snapshot) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let database = &self.inner.database;
        self.inner.damage.watch(|| question(&Snapshot(database.begin_read()?)))
    }
}

/// Questions. Each sees one consistent moment. Trashed conversations are not among the answers
/// unless the name says so; nor are, in listings and by name, those that have no recording yet.
impl Index {
    pub fn conversation(&self, seq: ConversationSeq) -> Result<Option<Conversation>, IndexError> {
        self.ask(|now| now.conversation(seq))
    }

    pub fn conversation_named(
        &self,
        id: &ConversationId,
    ) -> Result<Option<Conversation>, IndexError> {
        self.ask(|now| now.conversation_named(id))
    }

    /// In order of number, from the one after `after`.
    pub fn conversations(
        &self,
        after: ConversationSeq,
        limit: usize,
    ) -> Result<Vec<Conversation>, IndexError> {
        self.ask(|now| now.conversations(after, limit))
    }

    /// In order of number.
    pub fn trashed_conversations(&self) -> Result<Vec<Conversation>, IndexError> {
        self.ask(|now| now.trashed_conversations())
    }

    /// Days that have a recording, in order.
    pub fn days(&self, seq: ConversationSeq) -> Result<Vec<Day>, IndexError> {
        self.ask(|now| now.days(seq))
    }

    pub fn day_transcript(
        &self,
        seq: ConversationSeq,
        day: Day,
    ) -> Result<Option<DayTranscript>, IndexError> {
        self.ask(|now| now.day_transcript(seq, day))
    }

    /// In order of number.
    pub fn recordings(&self, seq: ConversationSeq, day: Day) -> Result<Vec<Recording>, IndexError> {
        self.ask(|now| now.recordings(seq, day))
    }

    pub fn recording(&self, id: RecordingId) -> Result<Option<Recording>, IndexError> {
        self.ask(|now| now.recording(id))
    }

    pub fn recording_with_stem(
        &self,
        seq: ConversationSeq,
        day: Day,
        stem: &FileName,
    ) -> Result<Option<Recording>, IndexError> {
        self.ask(|now| now.recording_with_stem(seq, day, stem))
    }

    /// The same, whether or not its conversation is in the trash.
    pub fn filed_recording_with_stem(
        &self,
        seq: ConversationSeq,
        day: Day,
        stem: &FileName,
    ) -> Result<Option<Recording>, IndexError> {
        self.ask(|now| now.filed_recording_with_stem(seq, day, stem))
    }

    pub fn totals(&self) -> Result<Totals, IndexError> {
        self.ask(|now| now.totals())
    }
}

/// Changes. Each returns when it is durable; several at once share one commit. Subscribers have been
/// told by then.
impl Index {
    /// The conversation of that name, made if there is none. `at` is its time of birth then. Listings show
    /// it when its first recording is published.
    pub fn ensure_conversation(
        &self,
        id: &ConversationId,
        at: Timestamp,
    ) -> Result<Conversation, IndexError> {
        let id = id.clone();
        self.inner.writer.change(move |writing| conversations::ensure(writing, &id, at, &[]))
    }

    /// Recording, day transcript and the end of its job (if there is one) in one step. What still has to be
    /// done about the transcript is [`PagesDue`].
    pub fn publish(
        &self,
        recording: Recording,
        transcript: impl Into<DayText>,
        job: Option<Job>,
    ) -> Result<(), IndexError> {
        let text = transcript.into();
        self.inner.writer.change(move |writing| {
            filing::publish(writing, recording, text)?;
            job.map_or(Ok(()), |job| jobs::save(writing, job))
        })
    }

    /// A recording's row again, with new pages, and the day's transcript with it; also in the trash. Its
    /// placement follows from the one that is there. The pages are [`PagesDue`] until they are installed.
    pub fn replace(
        &self,
        recording: Recording,
        transcript: impl Into<DayText>,
    ) -> Result<(), IndexError> {
        let text = transcript.into();
        self.inner.writer.change(move |writing| filing::replace(writing, recording, text))
    }

    /// Recordings as the store's metadata tells them, in one step, to rebuild what was lost. Numbers and names
    /// are kept where they are free. What is in the index already is written over, except conversations: those
    /// keep their names, and stay in the trash if they are in it.
    pub fn adopt(
        &self,
        told: Vec<(Conversation, Recording, DayTranscript)>,
    ) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            for (conversation, recording, transcript) in told {
                filing::adopt_recording(writing, &conversation, recording, transcript)?;
            }
            Ok(())
        })
    }

    pub fn rename_conversation(
        &self,
        seq: ConversationSeq,
        to: &ConversationId,
    ) -> Result<(), IndexError> {
        let to = to.clone();
        self.inner.writer.change(move |writing| conversations::rename(writing, seq, &to))
    }

    pub fn trash_conversation(
        &self,
        seq: ConversationSeq,
        at: Timestamp,
    ) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| conversations::trash(writing, seq, at))
    }

    /// Takes it out of the trash: [`IndexError::NameTaken`] if another has its name by now.
    pub fn restore_conversation(&self, seq: ConversationSeq) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| conversations::restore(writing, seq))
    }

    /// Takes it out of the trash under that name: [`IndexError::NameTaken`] if another has it.
    pub fn restore_conversation_as(
        &self,
        seq: ConversationSeq,
        id: &ConversationId,
    ) -> Result<(), IndexError> {
        let id = id.clone();
        self.inner.writer.change(move |writing| conversations::restore_as(writing, seq, &id))
    }

    /// Forgets all conversations, days and recordings (jobs stay), to be rebuilt from the store.
    pub fn clear_recordings(&self) -> Result<(), IndexError> {
        self.inner.writer.change(filing::clear)
    }
}

#[cfg(test)]
mod tests;
