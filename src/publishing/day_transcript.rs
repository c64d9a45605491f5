//! The transcript of a day: one text of the chapters of its recordings.
//!
//! Chapters are kept in memory by the hash of the json page that they were rendered from, so that a day with many
//! recordings does not read all of them again for each new one. Those that are in the bucket only are read ahead
//! ([`read_ahead`]): a day is rendered while nobody else can write pages, and nobody waits for a bucket then.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;

use crate::index::DayText;
use crate::model::{
    Access, Conversation, ConversationId, Day, DayTranscript, Key, Object, PageKind, Recording,
    TIME_REFERENCE,
};
use crate::publishing::chapter_cache::{self, HeldChapters};
use crate::publishing::error::StorageError;
use crate::publishing::page_store::{Draft, PageStore};
use crate::render::{self, Chapter, DayPage};
use crate::store::StoreError;

/// A day with up to so many recordings has its transcript rendered with each new one. Beyond that it is rendered
/// when the day has been quiet for a moment, so that the work grows with the recordings and not with their square.
const AT_ONCE: u64 = 16;

/// Whether a day's transcript is to be rendered with every change.
pub(crate) fn is_rendered_at_once(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    day: Day,
) -> Result<bool, StorageError> {
    Ok(page_store.index.recordings_on(conversation.seq, day)? <= AT_ONCE)
}

/// A day's text, with or without words that could not be read.
pub(crate) struct Rendered {
    pub(crate) draft: Draft,
    /// Every recording of the day is in it.
    is_complete: bool,
    /// Who may read all recordings that are in it.
    access: Option<Access>,
}

impl Rendered {
    pub(crate) fn text(&self, conversation: &Conversation, day: Day, now: Timestamp) -> DayText {
        let (seq, object) = (conversation.seq, self.draft.object.clone());
        let access = self.access;
        self.text_since(DayTranscript { conversation: seq, day, object, modified_at: now, access })
    }

    /// The same where that transcript is there already.
    pub(crate) fn text_since(&self, transcript: DayTranscript) -> DayText {
        match self.is_complete {
            true => DayText::Written(transcript),
            false => DayText::Incomplete(transcript),
        }
    }
}

/// Renders the transcript of a day, with `new` in place of what the index has of that recording. `None`: there is
/// nothing to render.
pub(crate) fn render(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    day: Day,
    new: Option<Chapter<'_>>,
) -> Result<Option<Rendered>, StorageError> {
    let mut recordings = page_store.index.filed_recordings(conversation.seq, day)?;
    // What is in the trash by itself has no part in its day's text.
    let is_there = |recording: &Recording| recording.overlay.trashed_at.is_none();
    recordings.retain(|it| is_there(it) && new.is_none_or(|new| new.recording.id != it.id));
    let new = new.filter(|new| is_there(new.recording));
    let mut all: Vec<&Recording> = recordings.iter().chain(new.map(|new| new.recording)).collect();
    all.sort_by(|one, other| in_order(one, other));
    let access = all.iter().filter_map(|it| it.overlay.access).reduce(Access::and);
    let id = conversation.id.shown();
    let title = all.iter().find_map(|it| it.overlay.title.as_deref()).unwrap_or(&id);

    let mut page = DayPage::new(title);
    let mut is_complete = true;
    // One after the other: no more than one of them need be in memory beside the page.
    for recording in all {
        let text = match new.filter(|new| new.recording.id == recording.id) {
            Some(new) => Some(render::chapter(new).into()),
            None => chapter_if_there(page_store, conversation, recording),
        };
        match text {
            Some(text) => page.add(&text),
            None => is_complete = false,
        }
    }
    if page.is_empty() {
        return Ok(None);
    }
    let key = Key::transcript(&conversation.filed_as, day);
    let draft = Draft::new(key, page.into_text().into_bytes());
    Ok(Some(Rendered { draft, is_complete, access }))
}

/// `None`: it is left out of its day, for now.
fn chapter_if_there(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    recording: &Recording,
) -> Option<Arc<str>> {
    match chapter(page_store, conversation, recording) {
        Ok(Some(text)) => Some(text),
        // Its words are missing or damaged: they may be mended.
        Ok(None) => {
            log::debug!("{}: left out of its day's transcript", recording.id);
            None
        }
        // It is in a bucket that is away, or does not give it.
        Err(err) => {
            log::debug!("{}: not in its day's transcript yet: {err}", recording.audio.key);
            None
        }
    }
}

/// What a metadata page says of a transcript that is not written yet.
pub(crate) fn unwritten(conversation: &Conversation, day: Day, now: Timestamp) -> DayTranscript {
    let key = Key::transcript(&conversation.filed_as, day);
    let object = Object { key, bytes: 0, blake3: blake3::hash(b"").to_hex().to_string() };
    DayTranscript { conversation: conversation.seq, day, object, modified_at: now, access: None }
}

/// Recordings of a day stand in the order of their times. Parts of one recording may all have the same: those stand
/// in the order of the samples that they begin at, and then of their names, as a person counts.
fn in_order(one: &Recording, other: &Recording) -> Ordering {
    let time = |it: &Recording| (it.recorded_at.time, time_reference(it));
    let name = |it: &Recording| it.original_name.display();
    time(one)
        .cmp(&time(other))
        .then_with(|| alphanumeric_sort::compare_str(name(one), name(other)))
        .then_with(|| one.id.cmp(&other.id))
}

/// Nanoseconds since midnight at which a Broadcast Wave file says that it begins.
fn time_reference(recording: &Recording) -> Option<u128> {
    let samples: u64 = recording.facts.tags.get(TIME_REFERENCE)?.parse().ok()?;
    u128::from(samples).checked_mul(1_000_000_000)?.checked_div(recording.facts.sample_rate.into())
}

/// Reads those chapters of a day that are in the bucket only. Not for whoever is
/// the holder of the [`page_lock`](crate::publishing::page_lock). What the bucket does not give is left out.
pub(crate) fn read_ahead(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    day: Day,
) -> Result<HeldChapters, StorageError> {
    let mut ahead = HeldChapters::default();
    for recording in page_store.index.filed_recordings(conversation.seq, day)? {
        if recording.overlay.trashed_at.is_none()
            && let Some(name) = name_of(&recording)
            && let Err(err) = hold_chapter(page_store, conversation, &recording, name, &mut ahead)
        {
            log::debug!("{}: could not be read ahead: {err}", recording.id);
        }
    }
    Ok(ahead)
}

/// The same for a recording that is about to be published there, if the day is rendered with it.
pub(crate) fn read_ahead_of_new(
    page_store: PageStore<'_>,
    conversation: &ConversationId,
    day: Day,
) -> Result<Option<HeldChapters>, StorageError> {
    match page_store.index.conversation_named(conversation)? {
        Some(it) if is_rendered_at_once(page_store, &it, day)? => {
            read_ahead(page_store, &it, day).map(Some)
        }
        Some(_) | None => Ok(None),
    }
}

/// A chapter of which the words are in the bucket only.
fn hold_chapter(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    recording: &Recording,
    name: String,
    ahead: &mut HeldChapters,
) -> Result<(), StoreError> {
    if is_here(page_store, recording)? || ahead.hold_again(&name) {
        return Ok(());
    }
    let text = match chapter_cache::get(&name)? {
        Some(text) => text,
        None => {
            let Some(text) = read_chapter(page_store, conversation, recording)? else {
                return Ok(());
            };
            chapter_cache::keep(name.clone(), &text);
            text
        }
    };
    ahead.hold(page_store.store, name, &text)
}

fn chapter(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    recording: &Recording,
) -> Result<Option<Arc<str>>, StoreError> {
    let name = name_of(recording);
    if let Some(name) = &name
        && let Some(text) = chapter_cache::get(name)?
    {
        return Ok(Some(text));
    }
    if !is_here(page_store, recording)? {
        let at = recording.audio.key.to_string();
        return Err(StoreError::Unavailable {
            at,
            source: "its words are not on this disk".into(),
        });
    }
    let Some(text) = read_chapter(page_store, conversation, recording)? else { return Ok(None) };
    if let Some(name) = name {
        chapter_cache::keep(name, &text);
    }
    Ok(Some(text))
}

/// What a chapter is kept under.
fn name_of(recording: &Recording) -> Option<String> {
    let json = recording.page(PageKind::Json)?.object.blake3.as_str();
    let when = recording.recorded_at.time;
    Some(format!("{json} {when} {}", recording.audio_name.display()))
}

/// Whether its words can be read without the bucket.
fn is_here(page_store: PageStore<'_>, recording: &Recording) -> Result<bool, StoreError> {
    match recording.page(PageKind::Json) {
        Some(page) => page_store.is_here(&page.object),
        None => Ok(true),
    }
}

fn read_chapter(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    recording: &Recording,
) -> Result<Option<Arc<str>>, StoreError> {
    let Some((mut talk, recipe)) = page_store.read_talk(recording)? else { return Ok(None) };
    for speaker in &mut talk.speakers {
        speaker.name = recording.overlay.names.get(&speaker.id).cloned();
    }
    let chapter = Chapter { conversation, recording, recipe: &recipe, talk: &talk };
    Ok(Some(render::chapter(chapter).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::recordings_of_a_day;
    use crate::model::FileName;

    #[test]
    fn parts_of_one_recording_stand_in_the_order_in_which_they_were_recorded() {
        // Samples since midnight, their rate, and a name: in order.
        let parts = [
            (None, 48_000, "part 1.wav"),
            (None, 48_000, "part 2.wav"),
            (None, 48_000, "part 10.wav"),
            (Some(1_728_000_000_u64), 48_000, "c.wav"),
            // A second later, in fewer samples.
            (Some(1_587_644_100), 44_100, "b.wav"),
            (Some(1_728_096_000), 48_000, "a2.wav"),
            (Some(1_728_096_000), 48_000, "a10.wav"),
        ];
        let mut recordings = recordings_of_a_day(7);
        for (recording, (samples, rate, name)) in recordings.iter_mut().zip(parts) {
            recording.original_name = FileName::new(name).unwrap();
            recording.facts.sample_rate = rate;
            let samples = samples.map(|it| (TIME_REFERENCE.to_owned(), it.to_string()));
            recording.facts.tags.extend(samples);
        }
        recordings.reverse();
        recordings.sort_by(in_order);
        let names: Vec<String> = recordings.iter().map(|it| it.original_name.display()).collect();
        assert_eq!(names, parts.map(|(.., name)| name));
        // The time counts first.
        let earlier = recordings[0].recorded_at.time.yesterday().unwrap();
        recordings[6].recorded_at.time = earlier;
        recordings.sort_by(in_order);
        assert_eq!(recordings[0].original_name.display(), "a10.wav");
    }
}
