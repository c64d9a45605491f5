//! Pages, metadata and the index are lost in every combination: no original goes with them, and what can be filed again is.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use scribefs::index::Index;
use scribefs::model::{Key, PageKind};
use scribefs::publishing;
use scribefs::publishing::{StorageTarget, Stores, StoresError};
use scribefs::store::{Bucket, FlakyStore, Label, MemoryStore, Store};
use scribefs::upkeep;
use scribefs::upkeep::{Depth, Orphan, Problem, Rebuilt, Where};

use super::{Shed, blake3_of, text};

/// All files of monday's recording beside its audio, and what each is lost with.
const PAGES: [&str; 5] =
    ["monday_metadata.json", "monday.json", "monday.srt", "monday.vtt", "standup_transcript.txt"];
const AUDIO: &str = "standup/2024/01/15/monday.wav";

fn key(name: &str) -> Key {
    Key::new(&format!("standup/2024/01/15/{name}")).unwrap()
}

/// Where a recording is when something gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Disk,
    Bucket,
    Both,
    /// Audio in the bucket only, pages in both.
    Evicted,
}

/// Two recordings, labelled as the uploader labels them.
fn shed(kept: Kept) -> Shed {
    let shed =
        Shed::new(if kept == Kept::Disk { StorageTarget::Disk } else { StorageTarget::Bucket });
    if kept == Kept::Disk {
        return shed;
    }
    for recording in shed.recordings() {
        let transcript = shed.index.filed_transcript(recording.id.conversation, recording.id.day);
        let transcript = transcript.unwrap().unwrap().object;
        for object in recording.objects().chain([&transcript]) {
            let bytes = shed.local.get_range(&object.key, 0..u64::MAX).unwrap();
            let mut label = Label::default();
            label.fields.insert(Label::BLAKE3, blake3_of(&bytes));
            label.fields.insert(Label::CONVERSATION, "standup".to_owned());
            if object.key.is_page() {
                label.fields.insert(Label::RECORDING, recording.audio.blake3.clone());
            }
            shed.remote.put_labelled(&object.key, bytes.into(), &label).unwrap();
        }
        let at = Some(Timestamp::now());
        assert!(shed.index.set_stored(recording.id, recording.revision, at).unwrap());
    }
    for found in shed.local.list("").unwrap() {
        if kept == Kept::Bucket || kept == Kept::Evicted && !found.key.is_page() {
            shed.local.delete(&found.key).unwrap();
        }
    }
    shed
}

impl Shed {
    fn rebuild(&self) -> Rebuilt {
        match self.home {
            StorageTarget::Disk => upkeep::rebuild(&self.local, &self.index).unwrap(),
            _ => {
                upkeep::rebuild_with_bucket(&self.local, self.remote.as_ref(), &self.index).unwrap()
            }
        }
    }

    /// Every byte of audio that there is, wherever.
    fn audio(&self) -> Vec<(Where, Key)> {
        let local = self.local.list("").unwrap().into_iter().map(|it| (Where::Disk, it.key));
        let remote = self.remote.list("").unwrap().into_iter().map(|it| (Where::Bucket, it.key));
        let mut all: Vec<(Where, Key)> = local.chain(remote).collect();
        all.retain(|(_, key)| key.folder().is_some() && !key.is_page());
        all.sort();
        all
    }

    /// What `gc --yes` does two hours from now.
    fn collect(&self) -> Vec<Orphan> {
        let orphans = self.orphans(Timestamp::now() + SignedDuration::from_hours(2));
        for orphan in &orphans {
            upkeep::remove_orphan(self.stores(), orphan).unwrap();
        }
        orphans
    }
}

/// Takes pages away, and puts them back when it is dropped.
struct Lost<'a> {
    shed: &'a Shed,
    files: Vec<(Key, Vec<u8>)>,
    objects: Vec<(Key, Vec<u8>, Label)>,
}

impl<'a> Lost<'a> {
    fn new(shed: &'a Shed, lost: u32) -> Self {
        let (mut files, mut objects) = (Vec::new(), Vec::new());
        for (_, name) in PAGES.iter().enumerate().filter(|(at, _)| lost & 1 << at != 0) {
            let key = key(name);
            if let Ok(bytes) = shed.local.get_range(&key, 0..u64::MAX) {
                files.push((key.clone(), bytes));
                shed.local.delete(&key).unwrap();
            }
            if let Ok(bytes) = shed.remote.get_range(&key, 0..u64::MAX) {
                objects.push((key.clone(), bytes, shed.remote.label(&key).unwrap()));
                shed.remote.delete(&key).unwrap();
            }
        }
        Self { shed, files, objects }
    }
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        for (key, bytes) in &self.files {
            self.shed.local.put(key, bytes).unwrap();
        }
        for (key, bytes, label) in &self.objects {
            self.shed.remote.put_labelled(key, bytes.clone().into(), label).unwrap();
        }
    }
}

#[test]
fn no_original_is_removed_whatever_is_lost_beside_it() {
    for kept in [Kept::Disk, Kept::Bucket, Kept::Both, Kept::Evicted] {
        let shed = shed(kept);
        let before = shed.audio();
        shed.index.clear_recordings().unwrap();
        for is_rebuilt in [false, true] {
            // With its metadata nothing is lost to a rebuilt index.
            let all = (0..1_u32 << PAGES.len()).filter(|lost| !is_rebuilt || lost & 1 != 0);
            for lost in all {
                let _lost = Lost::new(&shed, lost);
                if is_rebuilt {
                    shed.rebuild();
                }
                let context = format!("{kept:?}, lost {lost:05b}, rebuilt: {is_rebuilt}");
                assert_eq!(shed.collect(), [], "{context}");
                assert_eq!(shed.audio(), before, "{context}");
            }
        }
    }
}

#[test]
fn a_recording_whose_metadata_is_lost_is_filed_by_its_json_page() {
    for kept in [Kept::Disk, Kept::Bucket, Kept::Both, Kept::Evicted] {
        for is_rebuilt in [false, true] {
            let shed = shed(kept);
            let before = shed.recordings().swap_remove(0);
            for name in ["monday_metadata.json", "monday.vtt"] {
                shed.local.delete(&key(name)).unwrap();
                shed.remote.delete(&key(name)).unwrap();
            }
            shed.index.clear_recordings().unwrap();
            let context = format!("{kept:?}, rebuilt: {is_rebuilt}");
            if is_rebuilt {
                let rebuilt = shed.rebuild();
                assert_eq!(rebuilt.recordings, 2, "{context}: {rebuilt:?}");
                assert_eq!(rebuilt.salvaged, [key("monday.json")], "{context}");
                publishing::write_pages_due(&shed.placed(), &shed.index).unwrap();
            } else {
                assert!(shed.mend(Depth::Sizes).iter().all(|mended| *mended), "{context}");
            }
            let recordings = shed.recordings();
            let again = recordings.iter().find(|it| it.audio.key.as_str() == AUDIO).unwrap();
            assert_eq!(again.audio, before.audio, "{context}");
            assert_eq!(again.audio_name, before.audio_name, "{context}");
            assert_eq!(again.overlay.names, before.overlay.names, "{context}");
            assert_eq!(again.recorded_at.time, before.recorded_at.time, "{context}");
            assert_eq!(recordings.len(), 2, "{context}");
            for kind in [PageKind::Metadata, PageKind::Json, PageKind::Srt, PageKind::Vtt] {
                assert!(again.page(kind).is_some(), "{context}: {kind:?}");
            }
            assert_eq!(shed.faults(Depth::Contents), [], "{context}");
            // And the metadata page that was written for it is enough from now on.
            let dir = tempfile::tempdir().unwrap();
            let anew = Index::open(&dir.path().join("index.redb")).unwrap();
            let rebuilt = match kept {
                Kept::Disk => upkeep::rebuild(&shed.local, &anew).unwrap(),
                _ => upkeep::rebuild_with_bucket(&shed.local, shed.remote.as_ref(), &anew).unwrap(),
            };
            assert_eq!((rebuilt.recordings, rebuilt.salvaged), (2, vec![]), "{context}");
        }
    }
}

#[test]
fn what_cannot_be_filed_again_is_named_and_its_name_is_given_to_nobody() {
    let shed = shed(Kept::Disk);
    for name in ["monday_metadata.json", "monday.json"] {
        shed.local.delete(&key(name)).unwrap();
    }
    let rebuilt = shed.rebuild();
    assert_eq!((rebuilt.recordings, rebuilt.unfiled.len()), (1, 1), "{rebuilt:?}");
    assert_eq!(rebuilt.unfiled, [key("monday.wav")]);
    let only_copy = Problem::OnlyCopy { place: Where::Disk };
    let faults = shed.faults(Depth::Sizes);
    assert!(faults.contains(&("monday.wav".to_owned(), only_copy)), "{faults:?}");
    // The same bytes, dropped again, are a recording once more; then there are two copies.
    shed.import();
    assert_eq!(shed.recordings().len(), 2);
    let [orphan] = &shed.collect()[..] else { panic!() };
    assert_eq!(orphan.key, key("monday.wav"));
    let mut recordings = shed.recordings().into_iter();
    let again = recordings.find(|it| it.original_name.display() == "monday.wav").unwrap();
    assert_eq!(again.audio_name.display(), "monday-2.wav");
    assert_eq!(text(&shed.local, again.audio.key.as_str()), "monday's sound");
}

#[test]
fn a_json_page_of_other_bytes_files_nothing() {
    let shed = shed(Kept::Disk);
    shed.local.put(&key("monday.wav"), b"friday's sound").unwrap();
    shed.local.delete(&key("monday_metadata.json")).unwrap();
    let rebuilt = shed.rebuild();
    assert_eq!((rebuilt.recordings, rebuilt.salvaged.len()), (1, 0), "{rebuilt:?}");
    assert_eq!(rebuilt.unfiled, [key("monday.json"), key("monday.wav")]);
    assert_eq!(shed.collect(), []);
}

#[test]
fn a_copy_goes_with_its_pages_when_the_recording_is_kept_under_another_name() {
    for kept in [Kept::Disk, Kept::Both] {
        let shed = shed(kept);
        // As a recording that got another name leaves them when the power is cut.
        let copy = |store: &dyn Store, from: &str, to: &str| {
            let bytes = store.get_range(&key(from), 0..u64::MAX).unwrap();
            store.put(&key(to), &bytes).unwrap();
        };
        for (from, to) in [
            ("monday.wav", "old.wav"),
            ("monday.json", "old.json"),
            ("monday.srt", "old.srt"),
            ("monday_metadata.json", "old_metadata.json"),
        ] {
            copy(&shed.local, from, to);
        }
        // What it says is not true of the copy: it is no recording of its own.
        let orphans = shed.collect();
        let names: Vec<&str> = orphans.iter().map(|it| it.key.file_name()).collect();
        assert_eq!(names, [] as [&str; 0], "metadata of another place stays");
        shed.local.delete(&key("old_metadata.json")).unwrap();
        let orphans = shed.collect();
        let mut names: Vec<&str> = orphans.iter().map(|it| it.key.file_name()).collect();
        names.sort_unstable();
        assert_eq!(names, ["old.json", "old.srt", "old.wav"]);
        assert_eq!(shed.faults(Depth::Contents), []);
        assert_eq!(shed.recordings().len(), 2);
    }
}

#[test]
fn a_copy_stays_when_the_recording_it_is_a_copy_of_is_damaged_lost_or_in_the_trash() {
    let breaks: [fn(&Shed); 3] = [
        |shed| shed.local.put(&key("monday.wav"), b"monday's noise").unwrap(),
        |shed| shed.local.delete(&key("monday.wav")).unwrap(),
        |shed| {
            let id = shed.recordings()[0].id;
            shed.index.trash_recording(id, Timestamp::now()).unwrap();
        },
    ];
    for (at, damage) in breaks.into_iter().enumerate() {
        let shed = shed(Kept::Disk);
        let sound = shed.local.get_range(&key("monday.wav"), 0..u64::MAX).unwrap();
        shed.local.put(&key("old.wav"), &sound).unwrap();
        damage(&shed);
        assert_eq!(shed.collect(), [], "{at}");
        let only_copy = Problem::OnlyCopy { place: Where::Disk };
        let faults = shed.faults(Depth::Sizes);
        assert!(faults.contains(&("old.wav".to_owned(), only_copy)), "{at}: {faults:?}");
    }
}

#[test]
fn what_has_just_been_put_is_named_only_where_it_would_be_lost() {
    let shed = shed(Kept::Disk);
    let sound = shed.local.get_range(&key("monday.wav"), 0..u64::MAX).unwrap();
    shed.local.put(&key("new.wav"), &sound).unwrap();
    shed.local.put(&key("newer.wav"), b"nobody has it").unwrap();
    let checked =
        upkeep::check(shed.stores(), Depth::Sizes, Timestamp::now(), &mut |_| ()).unwrap();
    let [found] = &checked.findings[..] else { panic!("{:?}", checked.findings) };
    assert_eq!(found.key, key("newer.wav"));
    assert_eq!(found.fault, Problem::OnlyCopy { place: Where::Disk });
    assert_eq!(shed.orphans(Timestamp::now()), []);
}

#[test]
fn a_recording_that_nobody_names_is_named_beside_metadata_that_cannot_be_used() {
    let shed = shed(Kept::Disk);
    for name in ["monday_metadata.json", "monday.json"] {
        shed.local.delete(&key(name)).unwrap();
    }
    shed.local.put(&key("tuesday_metadata.json"), b"{ of the future }").unwrap();
    let rebuilt = shed.rebuild();
    assert_eq!(rebuilt.unfiled, [key("monday.wav")], "{rebuilt:?}");
    // Also at once, and whoever clears up leaves it alone.
    let checked =
        upkeep::check(shed.stores(), Depth::Sizes, Timestamp::now(), &mut |_| ()).unwrap();
    let found: Vec<(&str, Problem)> =
        checked.findings.iter().map(|it| (it.key.file_name(), it.fault.clone())).collect();
    let place = Where::Disk;
    let strange = ("tuesday_metadata.json", Problem::Strange { place });
    assert!(found.contains(&("monday.wav", Problem::OnlyCopy { place })), "{found:?}");
    assert!(found.contains(&strange), "{found:?}");
    assert_eq!(shed.collect(), []);
}

/// Nothing but what a bucket is asked for.
#[test]
fn an_empty_store_has_nothing_to_say() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.redb")).unwrap();
    let store = Arc::new(MemoryStore::default());
    assert_eq!(upkeep::rebuild(store.as_ref(), &index).unwrap(), Rebuilt::default());
}

#[test]
fn metadata_that_names_what_does_not_lie_beside_it_is_never_filed() {
    for place in [Where::Disk, Where::Bucket] {
        let shed = shed(Kept::Both);
        let json = shed.local.get_range(&key("monday_metadata.json"), 0..u64::MAX).unwrap();
        let json = String::from_utf8(json).unwrap();
        let elsewhere = Key::new("standup/2024/01/16/monday_metadata.json").unwrap();
        let writer = Key::writer();
        shed.remote.put(&writer, b"the lease").unwrap();
        for hostile in [json.clone(), json.replace(AUDIO, writer.as_str())] {
            match place {
                Where::Disk => shed.local.put(&elsewhere, hostile.as_bytes()).unwrap(),
                Where::Bucket => shed.remote.put(&elsewhere, hostile.as_bytes()).unwrap(),
            }
            let strange = Problem::Strange { place };
            let found = shed.faults(Depth::Sizes);
            assert_eq!(found, [("monday_metadata.json".to_owned(), strange)]);
            assert_eq!(shed.mend(Depth::Sizes), [false]);
            assert_eq!(shed.collect(), []);
            assert_eq!(shed.recordings().len(), 2);
        }
        assert_eq!(shed.remote.get_range(&writer, 0..99).unwrap(), b"the lease");
    }
}

#[test]
fn mending_can_be_cut_off_at_every_call_and_done_again() {
    for calls in 0.. {
        let mut shed = shed(Kept::Both);
        shed.home = StorageTarget::Both;
        shed.local.delete(&key("monday.wav")).unwrap();
        shed.local.delete(&key("monday.json")).unwrap();
        shed.local.delete(&Key::new("standup/2024/01/16/a.srt").unwrap()).unwrap();
        let flaky = FlakyStore::failing_after(calls, shed.remote.clone());
        let stores = Stores { remote: Some(&flaky), ..shed.stores() };
        let cut = || -> Result<(), StoresError> {
            let later = Timestamp::now() + SignedDuration::from_hours(2);
            let mut mend = |finding| upkeep::mend(stores, &finding).map(drop);
            upkeep::inspect(stores, Depth::Contents, later, &mut |_| (), &mut mend).map(drop)
        };
        let was_cut = cut().is_err();
        shed.mend(Depth::Contents);
        assert_eq!(shed.faults(Depth::Contents), [], "cut after {calls} calls");
        if !was_cut {
            assert!(10 < calls);
            return;
        }
    }
}
