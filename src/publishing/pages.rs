//! The pages of one recording: rendered, and written where nobody reads them yet or staged over those that are there.

use jiff::Timestamp;

use crate::index::DayText;
use crate::model::{
    Conversation, Day, DayTranscript, Destination, Key, Object, Page, PageKind, Recipe, Recording,
    Talk,
};
use crate::publishing::day_transcript;
use crate::publishing::error::StorageError;
use crate::publishing::page_store::{Draft, PageStore};
use crate::render::{self, Chapter};
use crate::store::StoreError;

/// How pages get to their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteMode {
    /// There are none, and the index names none.
    Put,
    /// Over others: see [`PageStore::stage`].
    Stage,
}

/// Writes all pages of a recording that is not in the index yet; it then lists them. Its day's transcript is
/// staged, or left for later where the day is long.
pub(crate) fn write_new(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    recording: &mut Recording,
    (recipe, talk): (&Recipe, &Talk),
    now: Timestamp,
) -> Result<DayText, StorageError> {
    write(page_store, WriteMode::Put, conversation, recording, (recipe, talk), true, now)
}

/// Stages all pages of a recording again; it then lists them. `with_transcript`: its day's too.
pub(crate) fn write_over(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    recording: &mut Recording,
    said: (&Recipe, &Talk),
    with_transcript: bool,
    now: Timestamp,
) -> Result<DayText, StorageError> {
    write(page_store, WriteMode::Stage, conversation, recording, said, with_transcript, now)
}

/// Moves what is staged for a recording and its day to where it belongs, after the index has them.
pub(crate) fn install(
    page_store: PageStore<'_>,
    recording: &Recording,
    transcript: Option<&Object>,
) -> Result<(), StoreError> {
    let pages = recording.pages.iter().map(|page| &page.object);
    pages.chain(transcript).try_for_each(|object| page_store.install(object))
}

fn write(
    page_store: PageStore<'_>,
    way: WriteMode,
    conversation: &Conversation,
    recording: &mut Recording,
    (recipe, talk): (&Recipe, &Talk),
    with_transcript: bool,
    now: Timestamp,
) -> Result<DayText, StorageError> {
    let day = recording.id.day;
    let chapter = Chapter { conversation, recording, recipe, talk };
    let mut pages = Vec::new();
    for (kind, bytes) in [
        (PageKind::Json, render::json(chapter)),
        (PageKind::Srt, render::srt(chapter)),
        (PageKind::Vtt, render::vtt(chapter)),
    ] {
        pages.push(write_page(page_store, way, recording, kind, bytes, now)?);
    }
    let text =
        if with_transcript && day_transcript::is_rendered_at_once(page_store, conversation, day)? {
            stage_transcript(page_store, conversation, day, Some(chapter), now)?
        } else {
            DayText::Later
        };
    fail_point!("publish-transcript-written");
    let named = named_transcript(page_store, conversation, recording, &text, now)?;
    let url = url(page_store, &recording.audio.key)?;
    let metadata = render::metadata(chapter, &pages, &named, url.as_deref());
    pages.push(write_page(page_store, way, recording, PageKind::Metadata, metadata, now)?);
    recording.pages = pages;
    Ok(text)
}

fn write_page(
    page_store: PageStore<'_>,
    way: WriteMode,
    recording: &Recording,
    kind: PageKind,
    bytes: Vec<u8>,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let key = recording.audio.key.page_beside(kind);
    if key == recording.audio.key {
        // Names are chosen so that this cannot be; the recording is worth a second look.
        let source = "a page would take the place of its own recording".into();
        return Err(StoreError::Refused { at: key.to_string(), source });
    }
    let draft = Draft::new(key, bytes);
    fail_point!("publish-before-page");
    match way {
        WriteMode::Put => page_store.put(&draft)?,
        WriteMode::Stage => {
            // A page that stays as it is keeps its time.
            if let Some(page) = recording.page(kind).filter(|page| page.object == draft.object) {
                if page_store.read_here(&page.object)?.is_none() {
                    page_store.stage(&draft)?;
                }
                return Ok(page.clone());
            }
            page_store.stage(&draft)?;
        }
    }
    let standing = recording.page(kind).map(|page| (&page.object, recording.written_at(page)));
    let written_at = Some(written_at(&draft.object, standing, now));
    Ok(Page { kind, object: draft.object, written_at })
}

/// When content was written that takes the place of `standing`. Programs that copy compare size and time, many of them
/// in whole seconds: with the same size the time is another second.
fn written_at(new: &Object, standing: Option<(&Object, Timestamp)>, now: Timestamp) -> Timestamp {
    let Some((standing, before)) = standing else { return now };
    let looks_the_same = new.bytes == standing.bytes && now.as_second() <= before.as_second();
    let next = Timestamp::from_second(before.as_second() + 1);
    if looks_the_same { next.unwrap_or(now) } else { now }
}

/// Renders a day's transcript and stages it, unless it is the one that is there.
pub(crate) fn stage_transcript(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    day: Day,
    new: Option<Chapter<'_>>,
    now: Timestamp,
) -> Result<DayText, StorageError> {
    let Some(rendered) = day_transcript::render(page_store, conversation, day, new)? else {
        return Ok(DayText::Later);
    };
    let standing = page_store.index.filed_transcript(conversation.seq, day)?;
    if let Some(standing) = standing.as_ref().filter(|it| it.object == rendered.draft.object) {
        if page_store.read_here(&standing.object)?.is_none() {
            page_store.stage(&rendered.draft)?;
        }
        return Ok(rendered.text_since(standing.clone()));
    }
    page_store.stage(&rendered.draft)?;
    let standing = standing.as_ref().map(|it| (&it.object, it.modified_at));
    let now = written_at(&rendered.draft.object, standing, now);
    Ok(rendered.text(conversation, day, now))
}

/// Where the recording lies or is going to lie; without a signature, so that it stays the same.
fn url(page_store: PageStore<'_>, key: &Key) -> Result<Option<String>, StorageError> {
    Ok(match page_store.index.destination()? {
        Destination::Here => page_store.store.url(key),
        Destination::Bucket { place } => {
            let bucket = place.split(" at ").next().unwrap_or(&place);
            Some(format!("{}/{key}", bucket.trim_end_matches('/')))
        }
    })
}

/// The transcript that a metadata page names: the one that comes with it, else the one that is there.
fn named_transcript(
    page_store: PageStore<'_>,
    conversation: &Conversation,
    recording: &Recording,
    text: &DayText,
    now: Timestamp,
) -> Result<DayTranscript, StorageError> {
    if let DayText::Written(transcript) | DayText::Incomplete(transcript) = text {
        return Ok(transcript.clone());
    }
    let standing = page_store.index.filed_transcript(conversation.seq, recording.id.day)?;
    Ok(standing.unwrap_or_else(|| day_transcript::unwritten(conversation, recording.id.day, now)))
}
