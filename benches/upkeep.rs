//! What `reindex`, `fsck` and `gc` cost where there are many recordings: time and peak memory.
//!
//! `cargo bench --bench upkeep [RECORDINGS...]` prints a table; `scripts/bench` does the same. The store is made up as
//! it is read, so that nothing is measured but the tools and the index, which lies on a real disk.

#[path = "../tests/common/sample.rs"]
mod sample;

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::time::Instant;

use jiff::Timestamp;
use scribefs::index::Index;
use scribefs::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, Key, ModelRef,
    Object, Page, PageKind, Recipe, RecordingId, SpeakerBounds, Talk,
};
use scribefs::publishing::{StorageTarget, Stores, StoresError};
use scribefs::render::{self, Chapter};
use scribefs::store::{Found, ObjectFacts, Store, StoreError, Walk};
use scribefs::upkeep;
use scribefs::upkeep::Depth;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Recordings of a day, and of a conversation.
const A_DAY: u64 = 10;
const A_CONVERSATION: u64 = 1_000;

/// Metadata pages are filled up with blanks, so that their size is known before they are rendered.
const METADATA_BYTES: usize = 4 << 10;

const AUDIO: &[u8] = b"sound";
const PAGE: &[u8] = b"what was said";

fn main() -> Result<()> {
    let wanted: Vec<u64> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let counts = if wanted.is_empty() { vec![100_000, 1_000_000] } else { wanted };
    for count in counts {
        measure(count)?;
    }
    Ok(())
}

fn measure(count: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let index = Index::open(&dir.path().join("index.redb"))?;
    let store = MadeUp { count };
    let stores = Stores { local: &store, remote: None, index: &index, home: StorageTarget::Disk };
    step(count, "reindex", || {
        let rebuilt = upkeep::rebuild(&store, &index)?;
        Ok(rebuilt.recordings == count && rebuilt.torn.is_empty())
    })?;
    step(count, "fsck", || {
        let mut found = 0;
        let counts =
            upkeep::inspect(stores, Depth::Sizes, Timestamp::now(), &mut |_| (), &mut |_| {
                found += 1;
                Ok::<_, StoresError>(())
            })?;
        Ok(counts.recordings == count && found == 0)
    })?;
    step(count, "gc", || {
        let left = upkeep::orphans(stores, Timestamp::now())?;
        Ok(left.orphans.is_empty() && left.only_copies == 0)
    })
}

/// Does something, and prints what it took. The kernel's mark of the peak is set back before.
fn step(count: u64, what: &str, work: impl FnOnce() -> Result<bool>) -> Result<()> {
    File::options().write(true).open("/proc/self/clear_refs")?.write_all(b"5")?;
    let before = memory("VmRSS:")?;
    let begun = Instant::now();
    if !work()? {
        return Err(format!("{what} did not find {count} recordings").into());
    }
    let took = begun.elapsed().as_secs_f64();
    let (peak, per) = (memory("VmHWM:")?, 1e6 * took / count as f64);
    writeln!(
        std::io::stdout(),
        "{count:>9} recordings  {what:<8} {took:>7.1} s ({per:.0} µs each)  peak memory {peak} MB (before: {before} MB)"
    )?;
    Ok(())
}

fn memory(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

/// Recordings that lie nowhere.
struct MadeUp {
    count: u64,
}

impl MadeUp {
    /// The objects of a day, in the order of their keys. `first`: the number of its first recording.
    fn day(&self, first: u64) -> Vec<Found> {
        let found = |key: Key, bytes: usize| Found { key, bytes: bytes as u64 };
        let (id, day) = (conversation(first), day(first));
        let mut all = vec![found(Key::transcript(&id, day), PAGE.len())];
        for number in first..(first + A_DAY).min(self.count) {
            let stem = stem(number);
            all.push(found(Key::audio(&id, day, &stem, b"wav"), AUDIO.len()));
            for kind in [PageKind::Json, PageKind::Srt, PageKind::Vtt] {
                all.push(found(Key::page(&id, day, &stem, kind), PAGE.len()));
            }
            all.push(found(Key::page(&id, day, &stem, PageKind::Metadata), METADATA_BYTES));
        }
        all.sort_by(|one, other| one.key.cmp(&other.key));
        all
    }
}

impl Store for MadeUp {
    fn walk(&self) -> Walk<'_> {
        let days = (0..self.count).step_by(A_DAY as usize);
        Box::new(days.flat_map(|first| self.day(first)).map(Ok))
    }

    fn get_range(&self, key: &Key, _: Range<u64>) -> std::result::Result<Vec<u8>, StoreError> {
        let number = key.recording_stem().get(1..).and_then(|digits| digits.parse().ok());
        match number {
            Some(number) if key.is_metadata() => Ok(metadata(number)),
            _ => Ok(PAGE.to_vec()),
        }
    }

    fn put(&self, key: &Key, _: &[u8]) -> std::result::Result<(), StoreError> {
        refuse(key)
    }

    fn put_file(&self, key: &Key, _: &File) -> std::result::Result<(), StoreError> {
        refuse(key)
    }

    fn head(&self, key: &Key) -> std::result::Result<Found, StoreError> {
        refuse(key)
    }

    fn is_taken(&self, _: &str) -> std::result::Result<bool, StoreError> {
        Ok(false)
    }

    fn facts(&self, key: &Key) -> std::result::Result<ObjectFacts, StoreError> {
        refuse(key)
    }

    fn list(&self, _: &str) -> std::result::Result<Vec<Found>, StoreError> {
        self.walk().collect()
    }

    fn delete(&self, key: &Key) -> std::result::Result<(), StoreError> {
        refuse(key)
    }

    fn open_local(&self, _: &Key) -> std::result::Result<Option<File>, StoreError> {
        Ok(None)
    }
}

fn refuse<T>(key: &Key) -> std::result::Result<T, StoreError> {
    Err(StoreError::Refused { at: key.to_string(), source: "nothing is kept here".into() })
}

fn conversation(number: u64) -> ConversationId {
    let name = format!("talks-{:06}", number / A_CONVERSATION);
    ConversationId::new(&name).unwrap_or_else(|| ConversationId::cleaned(name.as_bytes()))
}

fn day(number: u64) -> Day {
    let day = u32::try_from(number % A_CONVERSATION / A_DAY).unwrap_or(0);
    Day::from_number(738_000 + day).unwrap_or(Day::UNKNOWN)
}

fn stem(number: u64) -> Vec<u8> {
    format!("r{number:08}").into_bytes()
}

fn object(key: Key, bytes: &[u8]) -> Object {
    Object { key, bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
}

fn metadata(number: u64) -> Vec<u8> {
    let (id, day, stem) = (conversation(number), day(number), stem(number));
    let at = Timestamp::UNIX_EPOCH;
    let seq = ConversationSeq(u32::try_from(number / A_CONVERSATION + 1).unwrap_or(1));
    let pages = [PageKind::Json, PageKind::Srt, PageKind::Vtt].map(|kind| Page {
        kind,
        object: object(Key::page(&id, day, &stem, kind), PAGE),
        written_at: None,
    });
    let mut audio = object(Key::audio(&id, day, &stem, b"wav"), AUDIO);
    // As if each were another sound.
    audio.blake3 = blake3::hash(&stem).to_hex().to_string();
    let number = u16::try_from(number % A_DAY + 1).unwrap_or(1);
    let recording_id = RecordingId { conversation: seq, day, number };
    let stem = FileName::new(stem).unwrap_or_else(FileName::unnamed);
    let recording = sample::recording(recording_id, &id, &stem, audio, pages.to_vec(), at);
    let filed_as = id.clone();
    let transcript = object(Key::transcript(&id, day), PAGE);
    let conversation = Conversation { seq, id, filed_as, created_at: at, trashed_at: None };
    let transcript =
        DayTranscript { conversation: seq, day, object: transcript, modified_at: at, access: None };
    let (recipe, talk) = (recipe(), Talk::default());
    let chapter = Chapter {
        conversation: &conversation,
        recording: &recording,
        recipe: &recipe,
        talk: &talk,
    };
    let mut json = render::metadata(chapter, &pages, &transcript, None);
    assert!(json.len() <= METADATA_BYTES, "a metadata page has {} bytes", json.len());
    json.resize(METADATA_BYTES, b' ');
    json
}

fn recipe() -> Recipe {
    Recipe {
        recognizer: ModelRef { name: "moonshine-tiny-en".to_owned(), sha256: String::new() },
        diarizer: None,
        language: None,
        speakers: SpeakerBounds::default(),
        threads: 1,
        version: String::new(),
        options: std::collections::BTreeMap::new(),
    }
}
