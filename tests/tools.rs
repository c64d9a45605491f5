//! What the tools do to local disk, bucket and index: import, check, mend, clear up.

#[path = "tools/lost.rs"]
mod lost;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use scribefs::index::Index;
use scribefs::model::{ConversationId, Destination, Key, Object, PageKind, Placement, Recording};
use scribefs::publishing::{StorageTarget, Stores};
use scribefs::store::{
    BlockCache, Bucket, CacheOptions, FlakyStore, Label, LocalStore, MemoryStore, ReadOptions,
    Store, TieredStore,
};
use scribefs::upkeep;
use scribefs::upkeep::{Checked, Depth, Finding, Imported, Moved, Old, Orphan, Problem, Where};
use tempfile::TempDir;

/// One state folder with a bucket behind it.
struct Shed {
    dir: TempDir,
    local: LocalStore,
    remote: Arc<MemoryStore>,
    index: Index,
    home: StorageTarget,
}

impl Shed {
    /// With the two recordings of [`first_system`], on local disk.
    fn new(home: StorageTarget) -> Self {
        let dir = tempfile::tempdir().unwrap();
        first_system(&dir.path().join("old"));
        let local = LocalStore::open(&dir.path().join("uploads")).unwrap();
        let index = Index::open(&dir.path().join("index.redb")).unwrap();
        if home != StorageTarget::Disk {
            index
                .set_destination(&Destination::Bucket { place: "s3://talks/".to_owned() })
                .unwrap();
            index.set_needs_remote_scan(false).unwrap();
        }
        let shed = Self { dir, local, remote: Arc::default(), index, home };
        shed.import();
        shed
    }

    /// The same, with everything in the bucket too.
    fn in_bucket() -> Self {
        let shed = Self::new(StorageTarget::Bucket);
        for found in shed.local.list("").unwrap() {
            let bytes = shed.local.get_range(&found.key, 0..u64::MAX).unwrap();
            shed.remote.put(&found.key, &bytes).unwrap();
        }
        for it in shed.recordings() {
            assert!(shed.index.set_stored(it.id, it.revision, Some(Timestamp::now())).unwrap());
        }
        shed
    }

    fn stores(&self) -> Stores<'_> {
        let remote =
            (self.home != StorageTarget::Disk).then_some(self.remote.as_ref() as &dyn Bucket);
        Stores { local: &self.local, remote, index: &self.index, home: self.home }
    }

    /// Both places as the mount sees them.
    fn placed(&self) -> TieredStore {
        let local = Arc::new(LocalStore::open(self.local.root()).unwrap());
        if self.home == StorageTarget::Disk {
            return TieredStore::new(local);
        }
        let options = CacheOptions { limit_bytes: 1 << 30, keep_free_bytes: 0 };
        let cache = BlockCache::open(&self.dir.path().join("blocks"), options).unwrap();
        TieredStore::with_bucket(local, self.remote.clone(), cache, ReadOptions::default())
    }

    fn import(&self) -> Vec<Imported> {
        let survey = upkeep::survey(&self.dir.path().join("old")).unwrap();
        let told = survey.finds.iter().filter_map(|find| Some((find, find.text.as_ref()?)));
        let zone = TimeZone::UTC;
        told.map(|(find, text)| {
            upkeep::import(self.stores(), find, text, &zone, Timestamp::now()).unwrap()
        })
        .collect()
    }

    fn recordings(&self) -> Vec<Recording> {
        self.index.every_recording(None, 100).unwrap()
    }

    fn check(&self, depth: Depth) -> Checked {
        // Two hours from now: nothing is young.
        let later = Timestamp::now() + SignedDuration::from_hours(2);
        upkeep::check(self.stores(), depth, later, &mut |_| ()).unwrap()
    }

    fn faults(&self, depth: Depth) -> Vec<(String, Problem)> {
        let findings = self.check(depth).findings;
        findings.into_iter().map(|it| (it.key.file_name().to_owned(), it.fault)).collect()
    }

    /// Mends everything; whether each could be.
    fn mend(&self, depth: Depth) -> Vec<bool> {
        let findings = self.check(depth).findings;
        findings.iter().map(|finding| upkeep::mend(self.stores(), finding).unwrap()).collect()
    }

    fn orphans(&self, now: Timestamp) -> Vec<Orphan> {
        upkeep::orphans(self.stores(), now).unwrap().orphans
    }

    fn json_page(&self) -> Key {
        self.recordings()[0].page(PageKind::Json).unwrap().object.key.clone()
    }
}

/// An `uploads/` folder: one recording with its own transcript, one with its day's, one without.
fn first_system(root: &Path) {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("standup/2024/01/15/monday.wav", "monday's sound");
    write(
        "standup/2024/01/15/standup_transcript.txt",
        "[00:00:04] Speaker 1\nGood morning.\n\n[00:00:12] Ben\nYes.\n",
    );
    write(
        "standup/2024/01/15/monday_metadata.json",
        r#"{ "duration": 20.5, "participants": [{ "label": "Speaker 1", "name": "Anna" }],
             "client": "Northwind", "entities": [{ "text": "Friday" }], "custom": { "case": 7 } }"#,
    );
    write("standup/2024/01/16/a.m4a", "tuesday's sound");
    write("standup/2024/01/16/a.txt", "We met, and nothing was said.");
    write("standup/2024/01/16/b.m4a", "more of tuesday");
    write("standup/2024/01/16/notes.pdf", "");
}

fn text(store: &dyn Store, key: &str) -> String {
    let bytes = store.get_range(&Key::new(key).unwrap(), 0..u64::MAX).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_is_imported_is_published_with_its_words_and_names() {
    let shed = Shed::new(StorageTarget::Disk);
    let transcript = text(&shed.local, "standup/2024/01/15/standup_transcript.txt");
    assert!(transcript.contains("[00:00:04] Anna\nGood morning."), "{transcript}");
    assert!(transcript.contains("[00:00:12] Ben\nYes."), "{transcript}");
    assert_eq!(text(&shed.local, "standup/2024/01/15/monday.wav"), "monday's sound");
    let json = text(&shed.local, "standup/2024/01/15/monday.json");
    assert!(json.contains("imported"), "{json}");
    let [monday, tuesday] = &shed.recordings()[..] else { panic!() };
    assert_eq!((monday.facts.duration, monday.speakers), (20.5, 2));
    assert_eq!(monday.recorded_at.time.to_string(), "2024-01-15T12:00:00");
    assert_eq!(tuesday.model, "imported");
    // What it knew beside that is kept, whatever it is.
    let custom = serde_json::to_value(&monday.overlay.custom).unwrap();
    let kept = serde_json::json!({
        "client": "Northwind", "entities": [{ "text": "Friday" }], "case": 7
    });
    assert_eq!(custom, kept);
}

#[test]
fn the_store_and_what_is_in_it_are_told_from_other_folders() {
    let dir = tempfile::tempdir().unwrap();
    let [store, below, beside] =
        ["uploads", "uploads/standup", "uploads-of-old"].map(|name| dir.path().join(name));
    for folder in [&below, &beside] {
        fs::create_dir_all(folder).unwrap();
    }
    for own in [&store, &below, &below.join("..")] {
        assert!(upkeep::lies_in(own, &store).unwrap(), "{}", own.display());
    }
    for other in [beside.as_path(), dir.path()] {
        assert!(!upkeep::lies_in(other, &store).unwrap(), "{}", other.display());
    }
    assert!(upkeep::lies_in(&dir.path().join("nowhere"), &store).is_err());
}

#[test]
fn an_import_changes_nothing_in_its_source_and_can_be_run_again() {
    let shed = Shed::new(StorageTarget::Disk);
    let again = shed.import();
    assert!(again.iter().all(|it| matches!(it, Imported::Known(_))), "{again:?}");
    assert_eq!(shed.recordings().len(), 2);
    let old = shed.dir.path().join("old");
    let untouched = tempfile::tempdir().unwrap();
    first_system(untouched.path());
    for day in ["standup/2024/01/15", "standup/2024/01/16"] {
        let names = |root: &Path| fs::read_dir(root.join(day)).unwrap().count();
        assert_eq!(names(&old), names(untouched.path()));
    }
}

#[test]
fn a_tree_in_a_bucket_is_brought_here_day_by_day() {
    let bucket = MemoryStore::default();
    for key in ["standup/2024/01/15/a.wav", "standup/2024/01/15/a.txt", "x/2024/01/16/b.wav"] {
        bucket.put(&Key::new(key).unwrap(), key.as_bytes()).unwrap();
    }
    bucket.put(&Key::new("README").unwrap(), b"no recording").unwrap();
    let found = upkeep::days(&bucket).unwrap();
    assert_eq!((found.passed_over.count, found.passed_over.named), (1, vec!["README".to_owned()]));
    let days = found.days;
    assert_eq!(days.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    let dir = tempfile::tempdir().unwrap();
    upkeep::fetch_day(&bucket, &days[0], dir.path()).unwrap();
    let survey = upkeep::survey(dir.path()).unwrap();
    assert_eq!(survey.finds.len(), 1);
    assert!(survey.finds[0].text.is_some());
}

#[test]
fn recordings_without_a_transcript_and_other_files_are_told_apart() {
    let shed = Shed::new(StorageTarget::Disk);
    let survey = upkeep::survey(&shed.dir.path().join("old")).unwrap();
    let silent: Vec<String> =
        survey.finds.iter().filter(|it| it.text.is_none()).map(|it| it.name.display()).collect();
    assert_eq!(silent, ["b.m4a"]);
    assert_eq!(survey.not_taken.count, 1);
}

#[test]
fn where_everything_agrees_nothing_is_found() {
    for shed in
        [Shed::new(StorageTarget::Disk), Shed::new(StorageTarget::Bucket), Shed::in_bucket()]
    {
        let checked = shed.check(Depth::Contents);
        assert_eq!((checked.recordings, &checked.findings[..]), (2, &[][..]));
    }
}

#[test]
fn audio_that_is_only_in_the_bucket_is_where_it_belongs() {
    let mut shed = Shed::in_bucket();
    shed.local.delete(&shed.recordings()[0].audio.key).unwrap();
    assert_eq!(shed.faults(Depth::Contents), []);
    shed.home = StorageTarget::Both;
    let missing = Problem::Missing { place: Where::Disk };
    assert_eq!(shed.faults(Depth::Sizes), [("monday.wav".to_owned(), missing)]);
    assert_eq!(shed.mend(Depth::Sizes), [true]);
    assert_eq!(shed.faults(Depth::Contents), []);
}

#[test]
fn a_page_that_is_lost_or_damaged_here_comes_back_from_the_bucket() {
    let mut shed = Shed::in_bucket();
    let page = shed.json_page();
    shed.local.delete(&page).unwrap();
    assert_eq!(shed.faults(Depth::Sizes), []);
    shed.home = StorageTarget::Both;
    let missing = Problem::Missing { place: Where::Disk };
    assert_eq!(shed.faults(Depth::Sizes), [("monday.json".to_owned(), missing)]);
    assert_eq!(shed.mend(Depth::Sizes), [true]);

    let right = shed.local.get_range(&page, 0..u64::MAX).unwrap();
    shed.local.put(&page, &vec![b'x'; right.len()]).unwrap();
    assert_eq!(shed.faults(Depth::Sizes), []);
    let damaged = Problem::Content { place: Where::Disk };
    assert_eq!(shed.faults(Depth::Contents), [("monday.json".to_owned(), damaged)]);
    assert_eq!(shed.mend(Depth::Contents), [true]);
    assert_eq!(shed.local.get_range(&page, 0..u64::MAX).unwrap(), right);
}

#[test]
fn what_the_bucket_lacks_is_sent_again() {
    let shed = Shed::in_bucket();
    shed.remote.delete(&shed.json_page()).unwrap();
    let missing = Problem::Missing { place: Where::Bucket };
    assert_eq!(shed.faults(Depth::Sizes), [("monday.json".to_owned(), missing)]);
    assert_eq!(shed.mend(Depth::Sizes), [true]);
    assert_ne!(shed.recordings()[0].placement, Placement::Stored);
    // On its way, it is not missing.
    assert_eq!(shed.faults(Depth::Sizes), []);
}

#[test]
fn damage_in_both_places_is_told_and_made_no_worse() {
    let shed = Shed::in_bucket();
    let page = shed.json_page();
    shed.local.delete(&page).unwrap();
    shed.remote.put(&page, b"something else").unwrap();
    assert_eq!(shed.faults(Depth::Sizes).len(), 2);
    assert_eq!(shed.mend(Depth::Sizes), [false, false]);
    assert_eq!(shed.remote.get_range(&page, 0..99).unwrap(), b"something else");
}

#[test]
fn pages_that_are_lost_or_damaged_are_rendered_again_from_the_json_page() {
    let shed = Shed::new(StorageTarget::Disk);
    let key = |name: &str| Key::new(&format!("standup/2024/01/15/{name}")).unwrap();
    shed.local.delete(&key("monday.srt")).unwrap();
    shed.local.delete(&key("standup_transcript.txt")).unwrap();
    shed.local.put(&key("monday.vtt"), b"WEBVTT").unwrap();
    shed.local.put(&key("monday_metadata.json"), b"{").unwrap();
    let found = shed.faults(Depth::Contents);
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(shed.mend(Depth::Contents), [true; 4]);
    assert_eq!(shed.faults(Depth::Contents), []);
    let transcript = text(&shed.local, "standup/2024/01/15/standup_transcript.txt");
    assert!(transcript.contains("[00:00:04] Anna\nGood morning."), "{transcript}");
    // Read anew, the store says the same.
    let dir = tempfile::tempdir().unwrap();
    let anew = Index::open(&dir.path().join("index.redb")).unwrap();
    assert_eq!(upkeep::rebuild(&shed.local, &anew).unwrap().recordings, 2);
}

#[test]
fn a_json_page_that_is_damaged_is_told_and_the_rest_is_mended_all_the_same() {
    let shed = Shed::new(StorageTarget::Disk);
    shed.local.put(&shed.json_page(), b"{").unwrap();
    shed.local.delete(&Key::new("standup/2024/01/16/a.srt").unwrap()).unwrap();
    assert_eq!(shed.mend(Depth::Sizes), [false, true]);
    let faults = shed.faults(Depth::Contents);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].0, "monday.json");
}

#[test]
fn a_damaged_recording_in_the_bucket_keeps_no_other_from_being_taken_in() {
    let shed = Shed::in_bucket();
    for found in shed.local.list("").unwrap() {
        shed.local.delete(&found.key).unwrap();
    }
    let page = shed.json_page();
    let bytes = shed.remote.get_range(&page, 0..u64::MAX).unwrap();
    shed.remote.put(&page, &vec![b'x'; bytes.len()]).unwrap();
    shed.index.clear_recordings().unwrap();
    assert_eq!(shed.mend(Depth::Sizes), [false, true]);
    assert_eq!(shed.recordings().len(), 1);
}

#[test]
fn orphans_are_removed_when_they_are_an_hour_old_and_nothing_else_is() {
    let shed = Shed::in_bucket();
    let orphan = Key::new("standup/2024/02/01/cut-off.wav").unwrap();
    let sound = b"monday's sound";
    shed.local.put(&orphan, sound).unwrap();
    shed.remote.put_labelled(&orphan, sound[..].into(), &label_of(sound)).unwrap();
    for store in [&shed.local as &dyn Store, shed.remote.as_ref()] {
        store.put(&Key::new("_scribefs/writer.json").unwrap(), b"{}").unwrap();
        store.put(&Key::new("backup.zip").unwrap(), b"not ours").unwrap();
    }
    assert_eq!(shed.orphans(Timestamp::now()), []);
    let later = Timestamp::now() + SignedDuration::from_mins(61);
    let orphans = shed.orphans(later);
    let place = |place| Orphan { place, key: orphan.clone() };
    assert_eq!(orphans, [place(Where::Disk), place(Where::Bucket)]);
    for orphan in &orphans {
        upkeep::remove_orphan(shed.stores(), orphan).unwrap();
    }
    assert_eq!(shed.orphans(later), []);
    assert!(shed.remote.head(&Key::new("backup.zip").unwrap()).is_ok());
    assert_eq!(shed.faults(Depth::Contents), []);
}

/// As scribefs labels what it puts into a bucket.
fn label_of(bytes: &[u8]) -> Label {
    let fields = [("blake3", blake3_of(bytes)), ("conversation", "standup".to_owned())];
    let fields = fields.into_iter().collect();
    Label { content_type: "audio/wav", fields }
}

#[test]
fn what_others_have_put_where_recordings_are_filed_is_listed_and_stays() {
    let shed = Shed::in_bucket();
    let keys = ["app/2024/01/15/access.log.gz", "standup/2024/01/15/photo.jpg"];
    let keys = keys.map(|key| Key::new(key).unwrap());
    for key in &keys {
        let path = shed.local.root().join(key.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"another's").unwrap();
        shed.remote.put(key, b"another's").unwrap();
    }
    let later = Timestamp::now() + SignedDuration::from_hours(48);
    let left = upkeep::orphans(shed.stores(), later).unwrap();
    assert_eq!(left.orphans, []);
    let folders: Vec<(Where, &str, u64)> = left
        .foreign
        .iter()
        .map(|((place, folder), count)| (*place, folder.as_str(), *count))
        .collect();
    assert_eq!(
        folders,
        [
            (Where::Disk, "app/2024/01/15/", 1),
            (Where::Disk, "standup/2024/01/15/", 1),
            (Where::Bucket, "app/2024/01/15/", 1),
            (Where::Bucket, "standup/2024/01/15/", 1),
        ]
    );
    // Nor does a check call for anything to be done.
    assert!(shed.mend(Depth::Contents).iter().all(|mended| !mended));
    for key in &keys {
        assert!(shed.remote.head(key).is_ok() && shed.local.head(key).is_ok());
    }
}

#[test]
fn what_others_have_put_in_the_place_of_a_recording_survives_its_removal() {
    let shed = Shed::in_bucket();
    let [monday, tuesday] = &shed.recordings()[..] else { panic!() };
    let page = monday.page(PageKind::Srt).unwrap().object.key.clone();
    for key in [&monday.audio.key, &page] {
        shed.remote.put(key, b"another's").unwrap();
    }
    upkeep::bring_home(shed.stores(), shed.remote.as_ref(), Old::Removed, &mut |_| ()).unwrap();
    for key in [&monday.audio.key, &page] {
        assert_eq!(shed.remote.get_range(key, 0..99).unwrap(), b"another's");
    }
    assert!(shed.remote.head(&tuesday.audio.key).is_err());
}

#[test]
fn audio_of_ours_that_the_bucket_has_damaged_is_sent_again() {
    let shed = Shed::in_bucket();
    let audio = shed.recordings()[0].audio.clone();
    let sound = shed.local.get_range(&audio.key, 0..u64::MAX).unwrap();
    shed.remote.put_labelled(&audio.key, "monday's silen".into(), &label_of(&sound)).unwrap();
    assert_eq!(shed.faults(Depth::Contents).len(), 1);
    assert_eq!(shed.mend(Depth::Contents), [true]);
    // It makes room for the right one, which is on its way.
    assert!(shed.remote.head(&audio.key).is_err());
    assert_ne!(shed.recordings()[0].placement, Placement::Stored);
}

#[test]
fn cached_blocks_of_what_is_gone_are_cleared_away() {
    let shed = Shed::in_bucket();
    let [monday, tuesday] = &shed.recordings()[..] else { panic!() };
    let (cache_dir, local_dir) = (shed.dir.path().join("cache"), shed.dir.path().join("empty"));
    let options = CacheOptions { limit_bytes: 1 << 30, keep_free_bytes: 0 };
    let remote: Arc<dyn Bucket> = Arc::new(MemoryStore::default());
    for recording in [monday, tuesday] {
        let bytes = shed.remote.get_range(&recording.audio.key, 0..u64::MAX).unwrap();
        remote.put(&recording.audio.key, &bytes).unwrap();
    }
    let placed = || {
        let cache = BlockCache::open(&cache_dir, options).unwrap();
        let local = Arc::new(LocalStore::open(&local_dir).unwrap());
        TieredStore::with_bucket(local, remote.clone(), cache, ReadOptions::default())
    };
    placed().read(&monday.audio, 0..99).unwrap();
    let gone = Object { blake3: blake3_of(b"gone"), bytes: 4, ..tuesday.audio.clone() };
    remote.put(&gone.key, b"gone").unwrap();
    placed().read(&gone, 0..99).unwrap();
    assert_eq!(placed().cached().len(), 2);
    let cache = BlockCache::open(&cache_dir, options).unwrap();
    assert_eq!(upkeep::clear_cache(shed.stores(), &cache).unwrap(), 1);
    assert_eq!(placed().cached(), std::slice::from_ref(&monday.audio.blake3));
}

fn blake3_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn a_recording_that_the_index_has_lost_is_no_orphan_and_is_taken_in_again() {
    for place in [Where::Disk, Where::Bucket] {
        let shed = Shed::in_bucket();
        shed.index.clear_recordings().unwrap();
        if place == Where::Bucket {
            for found in shed.local.list("").unwrap() {
                shed.local.delete(&found.key).unwrap();
            }
        } else {
            for found in shed.remote.list("").unwrap() {
                shed.remote.delete(&found.key).unwrap();
            }
        }
        let later = Timestamp::now() + SignedDuration::from_hours(2);
        assert_eq!(shed.orphans(later), []);
        let unindexed = Problem::Unindexed { place };
        let found: Vec<Problem> = shed.faults(Depth::Sizes).into_iter().map(|it| it.1).collect();
        assert_eq!(found, [unindexed.clone(), unindexed]);
        assert_eq!(shed.mend(Depth::Sizes), [true, true]);
        assert_eq!(shed.faults(Depth::Contents), []);
        assert_eq!(shed.recordings().len(), 2);
    }
}

#[test]
fn nothing_beside_metadata_that_cannot_be_read_is_taken_for_an_orphan() {
    let shed = Shed::new(StorageTarget::Disk);
    let folder = "talk/2024/03/01";
    for (name, bytes) in [("x_metadata.json", &b"{ of the future }"[..]), ("x.wav", b"x")] {
        shed.local.put(&Key::new(&format!("{folder}/{name}")).unwrap(), bytes).unwrap();
    }
    let strange = Problem::Strange { place: Where::Disk };
    assert_eq!(shed.faults(Depth::Sizes), [("x_metadata.json".to_owned(), strange)]);
    assert_eq!(shed.mend(Depth::Sizes), [false]);
}

#[test]
fn everything_comes_home_and_the_bucket_is_left_empty() {
    let shed = Shed::in_bucket();
    shed.local.delete(&shed.recordings()[0].audio.key).unwrap();
    shed.local.delete(&shed.json_page()).unwrap();
    let moved =
        upkeep::bring_home(shed.stores(), shed.remote.as_ref(), Old::Kept, &mut |_| ()).unwrap();
    assert_eq!(moved, Moved { recordings: 2, objects: 2, kept: 0, lost: 0 });
    assert_eq!(shed.index.destination().unwrap(), Destination::Here);
    assert!(!shed.remote.list("").unwrap().is_empty());
    let again =
        upkeep::bring_home(shed.stores(), shed.remote.as_ref(), Old::Removed, &mut |_| ()).unwrap();
    assert_eq!(again.objects, 0);
    // Nothing but two words for those who follow it.
    let left = shed.remote.list("").unwrap();
    assert!(left.iter().all(|it| it.key.as_str().starts_with(Key::CHANGES)), "{left:?}");
    assert_eq!(left.len(), 2);
    let shed = Shed { home: StorageTarget::Disk, ..shed };
    assert_eq!(shed.faults(Depth::Contents), []);
}

#[test]
fn pages_that_are_due_are_written_before_everything_comes_home() {
    let shed = Shed::in_bucket();
    let seq = shed.recordings()[0].id.conversation;
    shed.index.rename_conversation(seq, &ConversationId::new("weekly").unwrap()).unwrap();
    upkeep::bring_home(shed.stores(), shed.remote.as_ref(), Old::Removed, &mut |_| ()).unwrap();
    assert_eq!(shed.index.pages_due(None, 9).unwrap(), []);
    let transcript = text(&shed.local, "standup/2024/01/15/standup_transcript.txt");
    assert!(transcript.starts_with("weekly\n"), "{transcript}");
    let shed = Shed { home: StorageTarget::Disk, ..shed };
    assert_eq!(shed.faults(Depth::Contents), []);
}

#[test]
fn coming_home_can_be_cut_off_at_every_call_and_done_again() {
    for calls in 0.. {
        let shed = Shed::in_bucket();
        for recording in shed.recordings() {
            shed.local.delete(&recording.audio.key).unwrap();
        }
        let remote = shed.remote.clone();
        let shed = Shed { remote: Arc::default(), home: StorageTarget::Disk, ..shed };
        let flaky = FlakyStore::failing_after(calls, remote.clone());
        let cut = upkeep::bring_home(shed.stores(), &flaky, Old::Removed, &mut |_| ());
        upkeep::bring_home(shed.stores(), remote.as_ref(), Old::Removed, &mut |_| ()).unwrap();
        assert_eq!(shed.faults(Depth::Contents), []);
        assert_eq!(remote.list("standup/").unwrap(), []);
        if cut.is_ok() {
            assert!(10 < calls);
            return;
        }
    }
}

#[test]
fn what_the_bucket_has_wrong_is_not_brought_home_nor_removed() {
    let shed = Shed::in_bucket();
    let audio = shed.recordings()[0].audio.key.clone();
    shed.local.delete(&audio).unwrap();
    shed.remote.put(&audio, b"monday's lies!").unwrap();
    let other = shed.recordings()[1].audio.key.clone();
    shed.local.delete(&other).unwrap();
    let moved =
        upkeep::bring_home(shed.stores(), shed.remote.as_ref(), Old::Removed, &mut |_| ()).unwrap();
    assert_eq!(moved, Moved { recordings: 2, objects: 1, kept: 0, lost: 1 });
    assert!(shed.remote.head(&audio).is_ok() && shed.remote.head(&other).is_ok());
    assert!(shed.local.head(&audio).is_err() && shed.local.head(&other).is_ok());
    assert_ne!(shed.index.destination().unwrap(), Destination::Here);
}

#[test]
fn local_copies_go_only_when_the_bucket_has_the_audio() {
    let shed = Shed::in_bucket();
    let [monday, tuesday] = &shed.recordings()[..] else { panic!() };
    shed.remote.put(&tuesday.audio.key, b"cut off").unwrap();
    let moved = upkeep::leave_disk(shed.stores(), shed.remote.as_ref()).unwrap();
    assert_eq!(moved.objects, 1);
    assert!(shed.local.head(&monday.audio.key).is_err());
    assert!(shed.local.head(&tuesday.audio.key).is_ok());
    assert_eq!(shed.index.copied_bytes().unwrap(), tuesday.audio.bytes);
}

#[test]
fn a_recording_that_is_being_removed_for_good_misses_nothing() {
    for shed in [Shed::new(StorageTarget::Disk), Shed::in_bucket()] {
        let [monday, tuesday] = &shed.recordings()[..] else { panic!() };
        shed.index.purge_recording(monday.id, Timestamp::now()).unwrap();
        let removed = |recording: &Recording| {
            shed.local.delete(&recording.audio.key).unwrap();
            shed.local.delete(&recording.page(PageKind::Srt).unwrap().object.key).unwrap();
        };
        removed(monday);
        assert_eq!(shed.faults(Depth::Contents), []);
        shed.index.purge_conversation(tuesday.id.conversation, Timestamp::now()).unwrap();
        removed(tuesday);
        assert_eq!(shed.faults(Depth::Contents), []);
    }
}

#[test]
fn findings_are_told_in_words_and_as_json() {
    let shed = Shed::in_bucket();
    shed.remote.put(&shed.json_page(), b"short").unwrap();
    let [finding] = &shed.check(Depth::Sizes).findings[..] else { panic!() };
    let Finding { key, fault, .. } = finding;
    assert!(fault.to_string().starts_with("in the bucket it has 5 bytes"), "{fault}");
    let json = serde_json::to_value(finding).unwrap();
    assert_eq!((&json["key"], &json["fault"]), (&key.as_str().into(), &"size".into()));
    assert_eq!(json["place"], "bucket");
}
