//! Store keys: the one place that spells a store path.
//!
//! `<conversation>/<yyyy>/<mm>/<dd>/<file>`, the same on local disk and in a bucket. Keys are made of
//! characters that are safe everywhere; a name that is not becomes a slug that a person can still read, with
//! a short hash, and the true name stands in the metadata.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::slug::{is_safe, old_slug, slug};
use crate::model::{ConversationId, Day, PageKind};

/// The place of one object in the store, relative to its root.
///
/// Always one or more parts joined by `/`, each of `A-Z a-z 0-9 . _ -`, none starting with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// The key, if the text is a legal one.
    pub fn new(text: &str) -> Option<Self> {
        let legal = text.len() <= 1024 && text.split('/').all(is_safe);
        legal.then(|| Self(text.to_owned()))
    }

    /// The original recording. `stem` and `extension` are what the view shows.
    pub fn audio(conversation: &ConversationId, day: Day, stem: &[u8], extension: &[u8]) -> Self {
        let extension = slug(extension, EXTENSION_BYTES);
        let dot = if extension.is_empty() { "" } else { "." };
        Self::on(conversation, day, &format!("{}{dot}{extension}", Self::stem_for(stem)))
    }

    /// A page about a recording, beside its audio.
    pub fn page(conversation: &ConversationId, day: Day, stem: &[u8], kind: PageKind) -> Self {
        Self::on(conversation, day, &format!("{}{}", Self::stem_for(stem), kind.suffix()))
    }

    /// What the names of a recording's objects begin with, if it is named after `stem`.
    pub fn stem_for(stem: &[u8]) -> String {
        let slug = slug(stem, SLUG_BYTES);
        if slug.is_empty() { "recording".to_owned() } else { slug }
    }

    /// What the names of a recording's objects begin with, by the key of its audio: part of a key that is
    /// there never changes, however names are spelled by now.
    pub fn stem(&self) -> &str {
        let name = self.file_name();
        name.rfind('.').map_or(name, |dot| &name[..dot])
    }

    /// A page about the recording whose audio has this key.
    pub fn page_beside(&self, kind: PageKind) -> Self {
        self.page_of(self.stem(), kind)
    }

    /// The id that the keys of a new conversation are made of: a legal part of a key as it stands.
    pub fn filing_id(id: &ConversationId) -> ConversationId {
        ConversationId::cleaned(slug(id.as_str().as_bytes(), ConversationId::MAX_BYTES).as_bytes())
    }

    /// The transcript of a day.
    pub fn transcript(conversation: &ConversationId, day: Day) -> Self {
        let id = folder_of(conversation);
        Self::on(conversation, day, &format!("{id}{TRANSCRIPT}"))
    }

    /// Everything of one conversation lies under this prefix, which ends in `/`.
    pub fn conversation_prefix(conversation: &ConversationId) -> String {
        format!("{}/", folder_of(conversation))
    }

    /// Everything that tells of changes lies below this. Keys of recordings have five parts and never meet it.
    pub const CHANGES: &str = "_scribefs/changes/";

    /// Tells those who follow the bucket of a change: the `number`th at that time. In the order of time.
    pub fn change(at: Timestamp, number: u32) -> Self {
        let micros = at.as_microsecond().max(0);
        Self(format!("{}{micros:020}-{number}.json", Self::CHANGES))
    }

    /// When the change was told that this key stands for; `None` for all other keys.
    pub fn changed_at(&self) -> Option<Timestamp> {
        let micros = self.0.strip_prefix(Self::CHANGES)?.split('-').next()?;
        Timestamp::from_microsecond(micros.parse().ok()?).ok()
    }

    /// Says which scribefs writes to the bucket.
    pub fn writer() -> Self {
        Self("_scribefs/writer.json".to_owned())
    }

    /// Says which place the bucket is, whatever it is called: a random id.
    pub fn place() -> Self {
        Self("_scribefs/place.json".to_owned())
    }

    /// Put and removed again to see whether the bucket works.
    pub fn probe() -> Self {
        Self("_scribefs/probe".to_owned())
    }

    /// Pages that were rendered again and are not at their keys yet lie below this, on local disk only.
    pub const STAGED: &str = "_scribefs/pages/";

    /// Where the new content of the page at this key lies until it is moved there. `blake3` is its hash.
    pub fn staged(&self, blake3: &str) -> Self {
        let both = blake3::hash(format!("{}\n{blake3}", self.0).as_bytes()).to_hex();
        Self(format!("{}{}", Self::STAGED, &both[..40]))
    }

    pub fn is_staged(&self) -> bool {
        self.0.starts_with(Self::STAGED)
    }

    /// The prefix of the conversation (ending in `/`) and the day that a recording's key lies under.
    pub fn folder(&self) -> Option<(&str, Day)> {
        let mut parts = self.0.split('/');
        let conversation = parts.next()?;
        let (year, month) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let day = Day::from_ymd(year, month, parts.next()?.parse().ok()?)?;
        let is_file = parts.next().is_some() && parts.next().is_none();
        is_file.then(|| (&self.0[..=conversation.len()], day))
    }

    fn on(conversation: &ConversationId, day: Day, file: &str) -> Self {
        let folder = Self::day_prefix(&Self::conversation_prefix(conversation), day);
        Self(format!("{folder}{file}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is before the last part; ends in `/` where there is anything.
    pub fn parent(&self) -> &str {
        &self.0[..self.0.len() - self.file_name().len()]
    }

    /// What the keys of a day begin with, in the conversation whose keys begin with `prefix`.
    pub fn day_prefix(prefix: &str, day: Day) -> String {
        let (year, month, day) = (day.year(), day.month(), day.day());
        format!("{prefix}{year:04}/{month:02}/{day:02}/")
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Whether this is the metadata of a recording, from which an index row can be made.
    pub fn is_metadata(&self) -> bool {
        self.0.ends_with(PageKind::Metadata.suffix())
    }

    /// Whether this is that page of the recording whose metadata lies at `metadata`.
    pub fn is_page_beside(&self, metadata: &Self, kind: PageKind) -> bool {
        metadata.beside().is_some_and(|stem| self.0 == format!("{stem}{}", kind.suffix()))
    }

    /// Whether this can be the original of the recording whose metadata lies at `metadata`: its stem, with any
    /// extension but one of a page.
    pub fn is_audio_beside(&self, metadata: &Self) -> bool {
        let Some(rest) = metadata.beside().and_then(|stem| self.0.strip_prefix(stem)) else {
            return false;
        };
        let is_page = |kind: PageKind| rest.eq_ignore_ascii_case(kind.suffix());
        match rest.strip_prefix('.') {
            Some(extension) => {
                !extension.contains(['/', '.']) && !PageKind::ALL.into_iter().any(is_page)
            }
            None => rest.is_empty(),
        }
    }

    /// What the names of everything beside a metadata page begin with.
    fn beside(&self) -> Option<&str> {
        self.folder()?;
        self.0.strip_suffix(PageKind::Metadata.suffix())
    }

    /// Whether this is the transcript of a day.
    pub fn is_transcript(&self) -> bool {
        self.0.ends_with(TRANSCRIPT)
    }

    /// What the names of all that belongs to one recording begin with, by any of these names.
    pub fn recording_stem(&self) -> &str {
        let name = self.file_name();
        let page = PageKind::ALL.into_iter().find_map(|kind| name.strip_suffix(kind.suffix()));
        page.unwrap_or_else(|| self.stem())
    }

    /// The page of the recording with that stem, in the folder of this key.
    pub fn page_of(&self, stem: &str, kind: PageKind) -> Self {
        Self(format!("{}{stem}{}", self.parent(), kind.suffix()))
    }

    /// Whether this is text about recordings: a page or a day's transcript.
    pub fn is_page(&self) -> bool {
        let is_page = |kind: PageKind| self.0.ends_with(kind.suffix());
        self.is_transcript() || PageKind::ALL.into_iter().any(is_page)
    }
}

/// What follows the conversation's id in the name of a day's transcript.
const TRANSCRIPT: &str = "_transcript.txt";

/// Longest slug of a stem; with suffix and extension it stays a file name.
const SLUG_BYTES: usize = 130;

/// The same of an extension.
const EXTENSION_BYTES: usize = 40;

/// Conversations of old were filed under ids that are no legal parts of keys, and stay where they are.
fn folder_of(filed_as: &ConversationId) -> String {
    old_slug(filed_as.as_str().as_bytes())
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("`{text}` is no store key"))
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(stem: &str, extension: &str) -> String {
        let id = ConversationId::new("standup").unwrap();
        let day = Day::from_ymd(2026, 3, 9).unwrap();
        let key = Key::audio(&id, day, stem.as_bytes(), extension.as_bytes());
        assert!(Key::new(key.as_str()).is_some(), "{key} is not legal");
        key.file_name().to_owned()
    }

    #[test]
    fn an_ordinary_name_is_its_own_key() {
        assert_eq!(audio("meeting-2", "m4a"), "meeting-2.m4a");
    }

    #[test]
    fn a_recordings_key_tells_its_folder_and_no_other_does() {
        let id = ConversationId::new("größe").unwrap();
        let day = Day::from_ymd(2026, 3, 9).unwrap();
        let key = Key::page(&id, day, b"monday", PageKind::Metadata);
        let prefix = Key::conversation_prefix(&id);
        assert_eq!(key.folder(), Some((prefix.as_str(), day)));
        for other in ["a/2026/03/09", "a/2026/03/09/b/c", "a/2026/02/30/b.wav", "a/b/03/09/c"] {
            assert_eq!(Key::new(other).unwrap().folder(), None);
        }
        assert_eq!(Key::change(Timestamp::UNIX_EPOCH, 1).folder(), None);
    }

    #[test]
    fn changes_are_in_the_order_of_their_times() {
        let at = |micros| Key::change(Timestamp::from_microsecond(micros).unwrap(), 1);
        assert!(at(999_999) < at(1_000_000));
        assert_eq!(at(5).as_str(), "_scribefs/changes/00000000000000000005-1.json");
        assert_eq!(Key::new(at(5).as_str()), Some(at(5)));
        assert_eq!(at(5).changed_at(), Timestamp::from_microsecond(5).ok());
        assert_eq!(Key::new("a/2026/03/09/b.wav").unwrap().changed_at(), None);
    }

    #[test]
    fn our_own_keys_are_legal_ones() {
        for key in [Key::writer(), Key::place(), Key::probe()] {
            assert_eq!(Key::new(key.as_str()), Some(key));
        }
    }

    #[test]
    fn only_what_has_the_folder_and_the_stem_of_a_metadata_page_belongs_beside_it() {
        let key = |text: &str| Key::new(text).unwrap();
        let metadata = key("standup/2026/03/09/monday_metadata.json");
        for audio in ["monday.wav", "monday", "monday.M4A"] {
            let audio = key(&format!("standup/2026/03/09/{audio}"));
            assert!(audio.is_audio_beside(&metadata), "{audio}");
        }
        for other in [
            "standup/2026/03/10/monday.wav",
            "other/2026/03/09/monday.wav",
            "standup/2026/03/09/monday-2.wav",
            "standup/2026/03/09/monday.json",
            "standup/2026/03/09/monday.SRT",
            "standup/2026/03/09/monday.a.wav",
            "standup/2026/03/09/monday_metadata.json",
            "standup/2026/03/09/monday.wav/x",
            "_scribefs/writer.json",
            "_scribefs/place.json",
        ] {
            assert!(!key(other).is_audio_beside(&metadata), "{other}");
        }
        let json = key("standup/2026/03/09/monday.json");
        assert!(json.is_page_beside(&metadata, PageKind::Json));
        assert!(!json.is_page_beside(&metadata, PageKind::Srt));
        assert!(!json.is_page_beside(&key("monday_metadata.json"), PageKind::Json));
    }

    #[test]
    fn audio_and_pages_of_one_recording_have_one_stem() {
        let audio = Key::new("standup/2026/03/09/take.2.wav").unwrap();
        let pages = PageKind::ALL.map(|kind| audio.page_beside(kind));
        for key in pages.iter().chain([&audio]) {
            assert_eq!(key.recording_stem(), "take.2");
            assert_eq!(key.page_of(key.recording_stem(), PageKind::Srt), pages[2]);
        }
    }

    #[test]
    fn pages_are_told_from_recordings() {
        let id = ConversationId::new("standup").unwrap();
        let day = Day::from_ymd(2026, 3, 9).unwrap();
        let pages = PageKind::ALL.map(|kind| Key::page(&id, day, b"meeting", kind));
        assert!(pages.iter().all(Key::is_page));
        assert!(Key::transcript(&id, day).is_page());
        assert!(!Key::audio(&id, day, b"meeting", b"m4a").is_page());
    }

    #[test]
    fn strange_names_become_safe_and_stay_apart() {
        let strange = ["größe ☃", "-rf *", "take #2", "", ".hidden", "%s%n", "a/b"];
        let keys: std::collections::BTreeSet<String> =
            strange.iter().map(|stem| audio(stem, "wav")).collect();
        assert_eq!(keys.len(), strange.len());
    }

    #[test]
    fn a_person_can_read_the_key_of_any_name() {
        for (stem, begin) in [
            ("Größe aus Köln", "Groesse_aus_Koeln-"),
            ("Gro\u{308}ße aus Ko\u{308}ln", "Groesse_aus_Koeln-"),
            ("Ünal & Ærø: Çay №1", "Uenal_Aero_Cay_No1-"),
            ("протокол собрания", "protokol_sobraniya-"),
            ("会議 2024", "HuiYi_2024-"),
            ("v1.2 (final)", "v1_2_final-"),
            ("-rf *", "rf-"),
            ("…", "unnamed-"),
        ] {
            let key = audio(stem, "wav");
            assert!(key.starts_with(begin), "{stem}: {key}");
            assert_eq!(key.len(), begin.len() + 8 + ".wav".len(), "{key}");
        }
    }

    #[test]
    fn a_new_conversation_is_filed_under_a_part_of_a_key() {
        for name in ["standup", "Größe aus Köln", "☃", ".hidden", &"ß".repeat(32), &"x".repeat(64)]
        {
            let id = ConversationId::new(name).unwrap();
            let filed_as = Key::filing_id(&id);
            assert_eq!(Key::conversation_prefix(&filed_as), format!("{filed_as}/"));
            assert_eq!(Key::filing_id(&filed_as), filed_as);
        }
        let plain = ConversationId::new("standup").unwrap();
        assert_eq!(Key::filing_id(&plain), plain);
    }

    #[test]
    fn a_conversation_that_was_filed_long_ago_keeps_its_folder() {
        let id = ConversationId::new("größe").unwrap();
        let day = Day::from_ymd(2024, 1, 15).unwrap();
        let hash = &blake3::hash("größe".as_bytes()).to_hex()[..8];
        assert_eq!(Key::conversation_prefix(&id), format!("gr____e-{hash}/"));
        let transcript = format!("gr____e-{hash}/2024/01/15/gr____e-{hash}_transcript.txt");
        assert_eq!(Key::transcript(&id, day).as_str(), transcript);
    }

    #[test]
    fn pages_lie_beside_the_audio_under_its_name() {
        let id = ConversationId::new("standup").unwrap();
        let day = Day::from_ymd(2026, 3, 9).unwrap();
        for (stem, extension) in
            [("meeting", "m4a"), ("take.2", "WAV"), ("noise", ""), ("größe", "ö"), (".hidden", "")]
        {
            let (stem, extension) = (stem.as_bytes(), extension.as_bytes());
            let audio = Key::audio(&id, day, stem, extension);
            for kind in PageKind::ALL {
                assert_eq!(audio.page_beside(kind), Key::page(&id, day, stem, kind));
            }
        }
        let old = Key::new("a/2024/01/15/gr____e-01234567.wav").unwrap();
        assert_eq!(
            old.page_beside(PageKind::Metadata).as_str(),
            "a/2024/01/15/gr____e-01234567_metadata.json"
        );
    }

    #[test]
    fn a_long_name_keeps_room_for_its_suffix() {
        assert!(audio(&"x".repeat(250), "wav").len() < 200);
        assert!(audio(&"x".repeat(120), &"y".repeat(130)).len() < 200);
    }
}
