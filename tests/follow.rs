//! Many readers, one writer: what one machine puts into a bucket is seen on another's read-only mount.

mod common;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::bucket::CountingBucket;
use common::{World, c_path, content, day, errno_of, names, quiet_spool, services_in, until};
use jiff::Timestamp;
use scribefs::fs::FsContext;
use scribefs::index::{Followed, Index, Surveying};
use scribefs::model::{
    ConversationId, ConversationSeq, Key, ModelRef, Page, PageKind, Recipe, Recording, RecordingId,
    SpeakerBounds, Talk,
};
use scribefs::publishing::BucketChange;
use scribefs::render::{self, Chapter};
use scribefs::store::{
    BlockCache, Bucket, CacheOptions, LocalStore, ReadOptions, Store, TieredStore,
};
use scribefs::sync::{Follower, FollowerConfig};
use scribefs::upkeep::rebuild_with_bucket;

/// So short that tests do not wait for it.
const EVERY: Duration = Duration::from_millis(20);

const DAY: &str = "conversations/standup/2024/01/15";

fn id(text: &str) -> ConversationId {
    ConversationId::new(text).unwrap()
}

/// The machine that writes: everything is in its own store first, and then in the bucket.
struct Writer {
    services: FsContext,
    bucket: Arc<CountingBucket>,
    microsecond: Cell<i64>,
    _dir: tempfile::TempDir,
}

impl Writer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let services = services_in(dir.path(), quiet_spool());
        let microsecond = Cell::new(1_700_000_000_000_000);
        Self { services, bucket: Arc::default(), microsecond, _dir: dir }
    }

    fn publish(&self, conversation: &str, name: &str) -> Recording {
        let recording = common::publish(&self.services, conversation, day(2024, 1, 15), name);
        self.place(recording.id);
        recording
    }

    /// Brings a recording to the bucket as it is now, and tells of it.
    fn place(&self, id: RecordingId) -> Key {
        let index = &self.services.index;
        let recording = index.filed_recording(id).unwrap().unwrap();
        let transcript = index.filed_transcript(id.conversation, id.day).unwrap().unwrap();
        for object in recording.objects().chain([&transcript.object]) {
            let bytes = self.services.store.get_range(&object.key, 0..u64::MAX).unwrap();
            self.bucket.put(&object.key, &bytes).unwrap();
        }
        let chapter = Chapter {
            conversation: &index.filed_conversation(id.conversation).unwrap().unwrap(),
            recording: &recording,
            recipe: &recipe(),
            talk: &Talk::default(),
        };
        let pages: Vec<Page> =
            recording.pages.iter().filter(|it| it.kind != PageKind::Metadata).cloned().collect();
        let key = recording.page(PageKind::Metadata).unwrap().object.key.clone();
        self.bucket.put(&key, &render::metadata(chapter, &pages, &transcript, None)).unwrap();
        self.mark(&BucketChange::Metadata(key.clone()));
        key
    }

    fn place_conversation(&self, seq: ConversationSeq) {
        for day in self.services.index.filed_days(seq).unwrap() {
            for recording in self.services.index.filed_recordings(seq, day).unwrap() {
                self.place(recording.id);
            }
        }
    }

    fn rename(&self, from: &str, to: &str) {
        let seq = self.seq(from);
        self.services.index.rename_conversation(seq, &id(to)).unwrap();
    }

    fn seq(&self, name: &str) -> ConversationSeq {
        self.services.index.conversation_named(&id(name)).unwrap().unwrap().seq
    }

    /// Another text for the day of a recording.
    fn write_transcript(&self, recording: &Recording, text: &str) {
        let index = &self.services.index;
        let (seq, day) = (recording.id.conversation, recording.id.day);
        let mut transcript = index.filed_transcript(seq, day).unwrap().unwrap();
        self.services.store.put(&transcript.object.key, text.as_bytes()).unwrap();
        transcript.object.bytes = text.len() as u64;
        transcript.object.blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
        transcript.modified_at = "2024-01-17T00:00:00Z".parse().unwrap();
        index.replace(recording.clone(), transcript).unwrap();
    }

    fn mark(&self, told: &BucketChange) {
        self.microsecond.set(self.microsecond.get() + 1);
        self.mark_at(self.microsecond.get(), told);
    }

    fn mark_at(&self, microsecond: i64, told: &BucketChange) {
        let key = Key::change(Timestamp::from_microsecond(microsecond).unwrap(), 0);
        self.bucket.put(&key, &serde_json::to_vec(told).unwrap()).unwrap();
    }

    /// Everything of a recording goes, the metadata first.
    fn remove(&self, recording: &Recording) {
        recording.objects().for_each(|object| self.bucket.delete(&object.key).unwrap());
        let page = recording.page(PageKind::Metadata).unwrap();
        self.mark(&BucketChange::Removed(page.object.key.clone()));
    }
}

fn recipe() -> Recipe {
    Recipe {
        recognizer: ModelRef { name: "moonshine-tiny-en".into(), sha256: "cd".repeat(32) },
        diarizer: None,
        language: None,
        speakers: SpeakerBounds::default(),
        threads: 1,
        version: "0.1.0".into(),
        options: BTreeMap::new(),
    }
}

fn follower(index: &Index, bucket: &Arc<CountingBucket>) -> Follower {
    let following = FollowerConfig {
        bucket: bucket.clone(),
        index: index.clone(),
        alarm: Arc::new(|| panic!("the index failed")),
        every: EVERY,
    };
    Follower::start(following).unwrap()
}

/// The machine that reads.
struct Reader {
    world: World,
    follower: Option<Follower>,
}

impl Reader {
    /// A read-only mount over an empty index; `None`, said aloud, where nothing can be mounted.
    fn new(test: &str, bucket: &Arc<CountingBucket>) -> Option<Self> {
        let world = World::read_only(test, bucket.clone())?;
        let mut reader = Self { world, follower: None };
        reader.follow(bucket);
        Some(reader)
    }

    fn follow(&mut self, bucket: &Arc<CountingBucket>) {
        self.follower = Some(follower(&self.world.services.index, bucket));
    }

    fn shows(&self, folder: &str, expected: &[&str]) {
        until(&format!("{folder} shows {expected:?}"), || {
            let path = self.world.path(folder);
            (path.exists() && names(path) == expected).then_some(())
        });
    }
}

/// An index that is followed without any mount.
struct Bare {
    index: Index,
    _dir: tempfile::TempDir,
}

impl Bare {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { index: Index::open(&dir.path().join("index.redb")).unwrap(), _dir: dir }
    }

    fn names(&self) -> Vec<String> {
        let found = self.index.conversations(ConversationSeq(0), 100).unwrap();
        found.iter().map(|conversation| conversation.id.to_string()).collect()
    }

    fn has(&self, expected: &[&str]) {
        until(&format!("{expected:?}"), || (self.names() == expected).then_some(()));
    }
}

#[test]
fn what_the_writer_publishes_appears_on_the_readers_mount() {
    let writer = Writer::new();
    writer.publish("standup", "monday.wav");
    let test = "what_the_writer_publishes_appears_on_the_readers_mount";
    let Some(reader) = Reader::new(test, &writer.bucket) else { return };
    let of_monday = ["monday.json", "monday.srt", "monday.vtt", "monday.wav"];
    let all: Vec<&str> =
        of_monday.into_iter().chain(["monday_metadata.json", "standup_transcript.txt"]).collect();
    reader.shows(DAY, &all);
    let audio = fs::read(reader.world.path(DAY).join("monday.wav")).unwrap();
    assert!(audio.starts_with(b"this is standup/2024/01/15/monday.wav"));
    let metadata = fs::read(reader.world.path(DAY).join("monday_metadata.json")).unwrap();
    assert!(render::from_metadata(&metadata).is_ok());
    writer.publish("standup", "tuesday.wav");
    writer.publish("retro", "first.wav");
    reader.shows("conversations", &["retro", "standup"]);
    until("tuesday is there", || (names(reader.world.path(DAY)).len() == 11).then_some(()));
    // Inode numbers are the same on all machines.
    let seq = writer.seq("retro");
    assert!(reader.world.services.index.conversation(seq).unwrap().is_some());
}

#[test]
fn names_that_are_given_and_taken_follow_at_once() {
    let writer = Writer::new();
    let recording = writer.publish("standup", "monday.wav");
    let test = "names_that_are_given_and_taken_follow_at_once";
    let Some(reader) = Reader::new(test, &writer.bucket) else { return };
    let transcript = reader.world.path(DAY).join("standup_transcript.txt");
    until("the transcript is read", || fs::read(&transcript).ok());
    writer.write_transcript(&recording, "Anna: good morning\n");
    writer.place(recording.id);
    until("the new size is seen", || (fs::metadata(&transcript).ok()?.len() == 19).then_some(()));
    assert_eq!(fs::read(&transcript).unwrap(), b"Anna: good morning\n");

    writer.rename("standup", "daily");
    writer.place_conversation(recording.id.conversation);
    reader.shows("conversations", &["daily"]);
    assert!(reader.world.path("conversations/daily/2024/01/15/daily_transcript.txt").exists());
}

#[test]
fn the_trash_follows_and_what_is_gone_is_gone() {
    let writer = Writer::new();
    let standup = writer.publish("standup", "monday.wav");
    let retro = writer.publish("retro", "first.wav");
    let test = "the_trash_follows_and_what_is_gone_is_gone";
    let Some(reader) = Reader::new(test, &writer.bucket) else { return };
    reader.shows("conversations", &["retro", "standup"]);
    let seq = standup.id.conversation;
    writer.services.index.trash_conversation(seq, Timestamp::UNIX_EPOCH).unwrap();
    writer.place_conversation(seq);
    reader.shows("conversations", &["retro"]);
    reader.shows(".scribefs/trash", &["standup"]);
    assert_eq!(names(reader.world.path(".scribefs/trash/standup/2024/01/15")).len(), 6);
    writer.services.index.restore_conversation(seq).unwrap();
    writer.place_conversation(seq);
    reader.shows("conversations", &["retro", "standup"]);
    reader.shows(".scribefs/trash", &[]);

    let more = writer.publish("standup", "tuesday.wav");
    until("tuesday is there", || (names(reader.world.path(DAY)).len() == 11).then_some(()));
    writer.remove(&more);
    until("tuesday is gone", || (names(reader.world.path(DAY)).len() == 6).then_some(()));
    writer.remove(&retro);
    reader.shows("conversations", &["standup"]);
    assert!(!reader.world.path("conversations/retro").exists());
    let totals = reader.world.services.index.totals().unwrap();
    assert_eq!((totals.conversations, totals.recordings, totals.pending), (1, 1, 0));
}

#[test]
fn nothing_can_be_changed_on_a_read_only_mount() {
    let writer = Writer::new();
    writer.publish("standup", "monday.wav");
    let test = "nothing_can_be_changed_on_a_read_only_mount";
    let Some(reader) = Reader::new(test, &writer.bucket) else { return };
    reader.shows("conversations", &["standup"]);
    let path = |below: &str| reader.world.path(below);
    let errno = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    let read_only = Some(libc::EROFS);
    let readme = fs::read_to_string(path("README.txt")).unwrap();
    assert!(readme.contains("read-only") && !readme.contains("inbox"), "{readme}");
    assert!(names(path("inbox")).is_empty());
    assert_eq!(errno(File::create(path("inbox/a.wav")).map(drop)), read_only);
    assert_eq!(errno(fs::create_dir(path("inbox/standup"))), read_only);
    assert_eq!(
        errno(fs::rename(path("conversations/standup"), path("conversations/b"))),
        read_only
    );
    assert_eq!(errno(fs::write(path(".scribefs/control"), "retry a")), read_only);
    let removal = Command::new("rm").arg("-r").arg(path("conversations/standup")).output();
    assert!(!removal.unwrap().status.success());
    // SAFETY: all zero is a valid statvfs, and the name ends in NUL.
    let flags = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        assert_eq!(errno_of(libc::statvfs(c_path(&path("")).as_ptr(), &raw mut stat)), 0);
        stat.f_flag
    };
    assert_eq!(flags & libc::ST_RDONLY, libc::ST_RDONLY);
    assert_eq!(names(path(DAY)).len(), 6);
}

#[test]
fn an_idle_follower_asks_once_a_round() {
    let writer = Writer::new();
    let bare = Bare::new();
    for name in ["standup", "retro", "planning"] {
        writer.publish(name, "first.wav");
    }
    let follower = follower(&bare.index, &writer.bucket);
    bare.has(&["standup", "retro", "planning"]);
    until("it has heard all", || follower.status().heard_at);
    writer.bucket.interceptor().take_requests();
    until("five rounds", || {
        let requests = writer.bucket.interceptor().requests();
        (5 <= requests.values().sum::<u64>()).then_some(())
    });
    let requests = writer.bucket.interceptor().take_requests();
    assert_eq!(requests.keys().collect::<Vec<_>>(), [&format!("list {}", Key::CHANGES)]);
    // News costs a request for the marker, one for the metadata and one for the day's transcript.
    writer.publish("retro", "second.wav");
    until("it is heard", || (bare.index.totals().unwrap().recordings == 4).then_some(()));
    let heard_at = follower.status().heard_at;
    until("the round is over", || (follower.status().heard_at != heard_at).then_some(()));
    let requests = writer.bucket.interceptor().take_requests();
    let gets: u64 = requests.iter().filter(|(it, _)| it.starts_with("get")).map(|it| it.1).sum();
    assert_eq!(gets, 3, "{requests:?}");
    assert!(!requests.contains_key("list "), "{requests:?}");
}

#[test]
fn a_bucket_that_is_away_only_delays_news() {
    let writer = Writer::new();
    writer.publish("standup", "monday.wav");
    let bare = Bare::new();
    writer.bucket.interceptor().set_away(true);
    let follower = follower(&bare.index, &writer.bucket);
    until("it has noticed", || follower.status().trouble);
    assert_eq!(follower.status().heard_at, None);
    writer.bucket.interceptor().set_away(false);
    bare.has(&["standup"]);
    until("its trouble is over", || follower.status().trouble.is_none().then_some(()));
    writer.bucket.interceptor().set_away(true);
    until("it has noticed again", || follower.status().trouble);
    writer.bucket.interceptor().set_away(false);
    writer.publish("retro", "first.wav");
    bare.has(&["standup", "retro"]);
}

#[test]
fn a_follower_goes_on_where_it_was_without_listing_all() {
    let writer = Writer::new();
    writer.publish("standup", "monday.wav");
    let bare = Bare::new();
    let first = follower(&bare.index, &writer.bucket);
    until("it has heard all", || first.status().heard_at);
    first.stop();
    writer.publish("retro", "first.wav");
    writer.bucket.interceptor().take_requests();
    let second = follower(&bare.index, &writer.bucket);
    bare.has(&["standup", "retro"]);
    second.stop();
    let requests = writer.bucket.interceptor().take_requests();
    assert!(!requests.contains_key("list "), "{requests:?}");
}

#[test]
fn who_was_away_for_a_month_lists_all_and_forgets_what_is_gone() {
    let writer = Writer::new();
    let gone = writer.publish("gone", "first.wav");
    let trashed = writer.publish("old", "first.wav");
    writer.publish("standup", "monday.wav");
    let seq = trashed.id.conversation;
    writer.services.index.trash_conversation(seq, Timestamp::UNIX_EPOCH).unwrap();
    writer.place_conversation(seq);
    let bare = Bare::new();
    let first = follower(&bare.index, &writer.bucket);
    bare.has(&["gone", "standup"]);
    first.stop();
    // Gone with their markers.
    for recording in [&gone, &trashed] {
        recording.objects().for_each(|object| writer.bucket.delete(&object.key).unwrap());
    }
    let place = bare.index.followed().unwrap().unwrap().place;
    let asked_at = Timestamp::now() - jiff::SignedDuration::from_hours(29 * 24 + 1);
    bare.index.set_followed(&Followed { place, asked_at }).unwrap();
    let second = follower(&bare.index, &writer.bucket);
    bare.has(&["standup"]);
    until("the trash is empty", || {
        bare.index.trashed_conversations().unwrap().is_empty().then_some(())
    });
    until("it has heard all", || second.status().heard_at);
    let asked_at = bare.index.followed().unwrap().unwrap().asked_at;
    assert!(Timestamp::now().duration_since(asked_at).as_secs() < 3600);
}

#[test]
fn a_marker_that_arrives_late_is_heard() {
    let writer = Writer::new();
    writer.publish("standup", "monday.wav");
    let bare = Bare::new();
    let follower = follower(&bare.index, &writer.bucket);
    bare.has(&["standup"]);
    let retro = common::publish(&writer.services, "retro", day(2024, 1, 15), "first.wav");
    let late = writer.microsecond.get() - 60_000_000;
    let key = writer.place(retro.id);
    bare.has(&["standup", "retro"]);
    let planning = common::publish(&writer.services, "planning", day(2024, 1, 15), "first.wav");
    let marker = Key::change(Timestamp::from_microsecond(writer.microsecond.get() + 1).unwrap(), 0);
    let page = writer.place(planning.id);
    bare.has(&["standup", "retro", "planning"]);
    writer.bucket.delete(&marker).unwrap();
    writer.rename("planning", "plans");
    let page_again = writer.place(planning.id);
    assert_eq!(page, page_again);
    bare.has(&["standup", "retro", "plans"]);
    // One that is older than those that were heard.
    writer.rename("retro", "looking-back");
    let last = Key::change(Timestamp::from_microsecond(writer.microsecond.get() + 1).unwrap(), 0);
    writer.place(retro.id);
    writer.bucket.delete(&last).unwrap();
    writer.mark_at(late, &BucketChange::Metadata(key));
    bare.has(&["standup", "looking-back", "plans"]);
    drop(follower);
}

#[test]
fn what_cannot_be_read_is_left_out_and_the_rest_is_filed() {
    let writer = Writer::new();
    writer.publish("standup", "monday.wav");
    let broken = Key::new("aaa/2024/01/15/a_metadata.json").unwrap();
    writer.bucket.put(&broken, b"{\"schema\": ").unwrap();
    // The page of another place: it would file its recording twice.
    let page = writer.publish("retro", "first.wav");
    let page = page.page(PageKind::Metadata).unwrap().object.key.clone();
    let copied = Key::new("copy/2024/01/15/first_metadata.json").unwrap();
    let json = writer.bucket.get_range(&page, 0..u64::MAX).unwrap();
    writer.bucket.put(&copied, &json).unwrap();
    writer.bucket.put(&Key::change(Timestamp::now(), 7), b"no json").unwrap();
    let bare = Bare::new();
    let follower = follower(&bare.index, &writer.bucket);
    bare.has(&["standup", "retro"]);
    until("it goes on", || follower.status().heard_at);
    assert_eq!(follower.status().trouble, None);
}

#[test]
fn conversations_that_swap_their_names_have_them_in_the_end() {
    let writer = Writer::new();
    writer.publish("one", "first.wav");
    writer.publish("two", "first.wav");
    let bare = Bare::new();
    let follower = follower(&bare.index, &writer.bucket);
    bare.has(&["one", "two"]);
    writer.rename("one", "three");
    writer.rename("two", "one");
    writer.rename("three", "two");
    writer.place_conversation(writer.seq("two"));
    bare.has(&["two-2", "two"]);
    writer.place_conversation(writer.seq("one"));
    bare.has(&["two", "one"]);
    drop(follower);
}

#[test]
fn a_bucket_that_was_never_read_is_not_shown_as_an_empty_one() {
    struct Followed(Follower);
    impl scribefs::fs::StatusSource for Followed {
        fn is_complete(&self) -> bool {
            self.0.is_complete()
        }
    }
    let test = "a_bucket_that_was_never_read_is_not_shown_as_an_empty_one";
    let writer = Writer::new();
    writer.publish("standup", "monday.wav");
    let bucket = writer.bucket.clone();
    bucket.interceptor().set_away(true);
    let Some(mut world) = World::read_only(test, bucket.clone()) else { return };
    let facts = Arc::new(Followed(follower(&world.services.index, &bucket)));
    world.services.facts = facts.clone();
    world.mount_again();
    until("it is in vain", || facts.0.status().trouble);
    for folder in ["conversations", ".scribefs/trash"] {
        let listed = fs::read_dir(world.path(folder)).and_then(|mut all| all.next().transpose());
        assert_eq!(listed.unwrap_err().raw_os_error(), Some(libc::EIO), "{folder}");
    }
    let named = fs::metadata(world.path("conversations/standup")).unwrap_err();
    assert_eq!(named.raw_os_error(), Some(libc::EIO));

    bucket.interceptor().set_away(false);
    until("it is read", || facts.0.is_complete().then_some(()));
    assert_eq!(names(world.path("conversations")), ["standup"]);
    let none = fs::metadata(world.path("conversations/none")).unwrap_err();
    assert_eq!(none.raw_os_error(), Some(libc::ENOENT));
    // What is known goes on being shown.
    bucket.interceptor().set_away(true);
    let again = follower(&world.services.index, &bucket);
    assert!(again.is_complete());
}

#[test]
fn a_link_to_a_file_is_told_to_who_asks_for_it() {
    struct Links(Arc<CountingBucket>);
    impl scribefs::fs::StatusSource for Links {
        fn link(&self, key: &Key, lasts: Duration) -> Option<String> {
            self.0.link(key, lasts).ok()
        }
        fn trash_days(&self) -> Option<u32> {
            Some(30)
        }
    }
    let test = "a_link_to_a_file_is_told_to_who_asks_for_it";
    let Some(mut world) = World::new(test) else { return };
    let recording = world.publish("standup", day(2024, 1, 15), "monday.wav");
    let audio = world.path(DAY).join("monday.wav");
    let none = common::getxattr(&audio, "user.scribefs.url").unwrap_err();
    assert_eq!(none.raw_os_error(), Some(libc::ENODATA));
    world.services.facts = Arc::new(Links(Arc::default()));
    world.mount_again();
    let link = common::getxattr(&audio, "user.scribefs.url").unwrap();
    assert_eq!(link, format!("memory:{}?seconds=3600", recording.audio.key));
    let day_long = common::getxattr(&audio, "user.scribefs.url.86400").unwrap();
    assert_eq!(day_long, format!("memory:{}?seconds=86400", recording.audio.key));
    let too_long = common::getxattr(&audio, "user.scribefs.url.604801").unwrap_err();
    assert_eq!(too_long.raw_os_error(), Some(libc::ENODATA));
    assert_eq!(content(&recording.audio.key), fs::read(&audio).unwrap());
    let folder = common::getxattr(&world.path("conversations/standup"), "user.scribefs.url");
    assert_eq!(folder.unwrap_err().raw_os_error(), Some(libc::ENODATA));
    world
        .services
        .index
        .trash_conversation(recording.id.conversation, Timestamp::UNIX_EPOCH)
        .unwrap();
    let trashed = world.path(".scribefs/trash/standup");
    // The folder keeps its inode number: while the kernel is being told that it has left one place, it may
    // answer ESTALE at the other for a moment.
    let told = |name: &str| {
        let name = format!("user.scribefs.{name}");
        common::until("the kernel has let go", || common::getxattr(&trashed, &name).ok())
    };
    assert_eq!(told("trashed_at"), "1970-01-01T00:00:00Z");
    assert_eq!(told("removed_at"), "1970-01-31T00:00:00Z");
}

#[test]
fn a_writers_state_is_never_followed_with() {
    let writer = Writer::new();
    let recording = common::publish(&writer.services, "standup", day(2024, 1, 15), "monday.wav");
    // An empty bucket: everything that is here is missing there.
    let following = FollowerConfig {
        bucket: Arc::<CountingBucket>::default(),
        index: writer.services.index.clone(),
        alarm: Arc::new(|| panic!("the index failed")),
        every: EVERY,
    };
    let refused = Follower::start(following).err().unwrap().to_string();
    assert_eq!(refused, "this state folder is one that recordings are published in");
    let standing = writer.services.index.recording(recording.id).unwrap();
    assert_eq!(standing.as_ref(), Some(&recording));
    for object in recording.objects() {
        assert!(writer.services.store.head(&object.key).is_ok(), "{}", object.key);
    }
}

#[test]
fn a_follower_of_one_bucket_shows_nothing_of_it_over_another() {
    let (writer, other) = (Writer::new(), Writer::new());
    for (writer, name, id) in [(&writer, "standup", "one"), (&other, "retro", "two")] {
        writer.publish(name, "first.wav");
        let place = format!(
            r#"{{"schema":"scribefs.place/1","id":"{id}","created_at":"2024-01-15T00:00:00Z"}}"#
        );
        writer.bucket.put(&Key::place(), place.as_bytes()).unwrap();
    }
    let bare = Bare::new();
    let first = follower(&bare.index, &writer.bucket);
    bare.has(&["standup"]);
    first.stop();
    let alarmed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let rung = alarmed.clone();
    let following = FollowerConfig {
        bucket: other.bucket.clone(),
        index: bare.index.clone(),
        alarm: Arc::new(move || rung.store(true, std::sync::atomic::Ordering::Relaxed)),
        every: EVERY,
    };
    let second = Follower::start(following).unwrap();
    until("the daemon is told to end", || {
        alarmed.load(std::sync::atomic::Ordering::Relaxed).then_some(())
    });
    second.stop();
    assert_eq!(bare.names(), ["standup"]);
}

#[test]
fn metadata_that_names_objects_elsewhere_is_left_out() {
    let writer = Writer::new();
    let kept = writer.publish("standup", "monday.wav");
    let victim = writer.publish("retro", "first.wav");
    let evil = writer.publish("planning", "first.wav");
    let page = evil.page(PageKind::Metadata).unwrap().object.key.clone();
    let json = writer.bucket.get_range(&page, 0..u64::MAX).unwrap();
    let json = String::from_utf8(json).unwrap();
    for (what, strange) in [
        (evil.audio.key.as_str(), victim.audio.key.as_str()),
        (evil.audio.key.as_str(), "_scribefs/writer.json"),
        (evil.audio.key.as_str(), "planning/2024/01/15/first.json"),
        ("planning/2024/01/15/first.srt", "retro/2024/01/15/first.srt"),
        ("planning/2024/01/15/planning_transcript.txt", "retro/2024/01/15/retro_transcript.txt"),
        (r#""filed_as": "planning""#, r#""filed_as": "retro""#),
    ] {
        let changed = json.replace(what, strange);
        assert_ne!(changed, json, "{what}");
        writer.bucket.put(&page, changed.as_bytes()).unwrap();
        // A follower, and a writer whose index was lost.
        let (bare, rebuilt) = (Bare::new(), Bare::new());
        let follower = follower(&bare.index, &writer.bucket);
        until("it has heard all", || follower.status().heard_at);
        let mut names = bare.names();
        names.sort();
        assert_eq!(names, ["retro", "standup"], "{strange}");
        let local = scribefs::store::MemoryStore::default();
        let found = rebuild_with_bucket(&local, writer.bucket.as_ref(), &rebuilt.index).unwrap();
        assert_eq!((found.recordings, found.unreadable.len()), (2, 1), "{strange}");
        assert!(!bare.index.recordings_with_audio(&kept.audio.blake3).unwrap().is_empty());
    }
}

#[test]
fn a_page_that_was_replaced_is_read_as_it_is_now() {
    let writer = Writer::new();
    let recording = writer.publish("standup", "monday.wav");
    let bare = Bare::new();
    let first = follower(&bare.index, &writer.bucket);
    until("it has heard all", || first.status().heard_at);
    first.stop();
    let dir = tempfile::tempdir().unwrap();
    let local = LocalStore::open(&dir.path().join("followed")).unwrap();
    let limits = CacheOptions { limit_bytes: 1 << 20, keep_free_bytes: 0 };
    let cache = BlockCache::open(&dir.path().join("cache"), limits).unwrap();
    let bucket: Arc<dyn Bucket> = writer.bucket.clone();
    let store = TieredStore::with_bucket(local, bucket.clone(), cache, ReadOptions::default());
    let index = bare.index.clone();
    let refresher = scribefs::sync::PageRefresher::start(bucket, index).unwrap();
    store.when_replaced(Box::new(move |page, deadline| refresher.refresh(page, deadline)));
    // The writer has put other pages there, and the follower has not heard of it.
    let (seq, day) = (recording.id.conversation, recording.id.day);
    let stale = bare.index.filed_transcript(seq, day).unwrap().unwrap().object;
    writer.write_transcript(&recording, "Anna: good morning\n");
    writer.place(recording.id);
    assert!(store.read(&stale, 0..stale.bytes).is_err());
    let now = bare.index.filed_transcript(seq, day).unwrap().unwrap().object;
    assert_ne!(now, stale);
    assert_eq!(store.read(&now, 0..now.bytes).unwrap(), &b"Anna: good morning\n"[..]);
}

#[test]
fn a_change_whose_marker_was_missed_is_found_by_the_weekly_listing() {
    let writer = Writer::new();
    let gone = writer.publish("gone", "first.wav");
    writer.publish("standup", "monday.wav");
    let bare = Bare::new();
    let first = follower(&bare.index, &writer.bucket);
    bare.has(&["gone", "standup"]);
    until("it has heard all", || first.status().heard_at);
    first.stop();
    // Markers with names behind which the follower has read on already, and one that was never written.
    let retro = common::publish(&writer.services, "retro", day(2024, 1, 15), "first.wav");
    let page = writer.place(retro.id);
    let marker = Key::change(Timestamp::from_microsecond(writer.microsecond.get()).unwrap(), 0);
    writer.bucket.delete(&marker).unwrap();
    writer.mark_at(1_000_000, &BucketChange::Metadata(page));
    gone.objects().for_each(|object| writer.bucket.delete(&object.key).unwrap());
    let second = follower(&bare.index, &writer.bucket);
    until("it has heard all", || second.status().heard_at);
    assert_eq!(bare.names(), ["gone", "standup"]);
    second.stop();
    let week = jiff::SignedDuration::from_hours(7 * 24 + 1);
    bare.index.end_survey(Timestamp::now() - week).unwrap();
    let third = follower(&bare.index, &writer.bucket);
    bare.has(&["standup", "retro"]);
    third.stop();
}

#[test]
fn a_listing_that_was_cut_off_goes_on_and_reads_nothing_twice() {
    let writer = Writer::new();
    for number in 0..3 {
        writer.publish(&format!("talk-{number}"), "first.wav");
    }
    let bare = Bare::new();
    let first = follower(&bare.index, &writer.bucket);
    bare.has(&["talk-0", "talk-1", "talk-2"]);
    until("it has heard all", || first.status().heard_at);
    first.stop();
    let markers = writer.bucket.list_after(Key::CHANGES, "", 99).unwrap();
    markers.iter().for_each(|marker| writer.bucket.delete(&marker.key).unwrap());
    // As if it had ended in the middle of its first listing, and all had been filed so far.
    let followed = bare.index.followed().unwrap().unwrap();
    bare.index.forget_followed().unwrap();
    let after = "talk-1/2024/01/15/first.srt".to_owned();
    bare.index.set_surveying(&Surveying { from: followed, after: after.clone() }).unwrap();
    writer.bucket.interceptor().take_requests();
    let second = follower(&bare.index, &writer.bucket);
    until("it has heard all", || second.status().heard_at);
    second.stop();
    assert_eq!(bare.names().len(), 3);
    let requests = writer.bucket.interceptor().take_requests();
    let pages = |it: &&String| it.starts_with("get") && it.contains("talk-");
    assert_eq!(requests.keys().find(pages), None, "{requests:?}");
}
