//! The inbox through the API that the filesystem and the pipeline use: real files, no mount.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scribefs::model::{Failure, FailureCause, InboxId, JobState};
use scribefs::spool::{
    Attributes, Creator, Dropped, EntryKind, OpenFile, RenameMode, SetAttributes, SetTime, Spool,
    SpoolError, SpoolEvent, SpoolOptions, Work,
};

const ROOT: InboxId = InboxId::ROOT;

/// A spool in a folder of its own.
struct Bench {
    dir: tempfile::TempDir,
    spool: Spool,
}

fn options() -> SpoolOptions {
    SpoolOptions {
        settle: Duration::from_millis(60),
        settle_after_rename: Duration::from_millis(10),
        max_upload_bytes: None,
        keep_free_bytes: 0,
        sync_on_close: false,
    }
}

fn bench() -> Bench {
    bench_with(options())
}

fn bench_with(options: SpoolOptions) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), options).unwrap();
    Bench { dir, spool }
}

fn creator() -> Creator {
    let here = fs::metadata("/proc/self").unwrap();
    Creator { uid: here.uid(), gid: here.gid(), mode: 0o644, thread: 0 }
}

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

fn errno(result: Result<impl Sized, SpoolError>) -> Option<i32> {
    match result {
        Err(SpoolError::Disk(err)) => err.raw_os_error(),
        _ => None,
    }
}

fn is_missing(result: Result<impl Sized, SpoolError>) -> bool {
    matches!(result, Err(SpoolError::Missing))
}

impl Bench {
    fn inbox(&self) -> PathBuf {
        self.dir.path().join("inbox")
    }

    fn create(&self, parent: InboxId, text: &str) -> (Attributes, Arc<OpenFile>) {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        self.spool.create(parent, name(text), creator(), flags).unwrap()
    }

    fn write(&self, open: &OpenFile, bytes: &[u8], offset: u64) {
        self.spool.before_write(open, bytes.len() as u64).unwrap();
        open.file.write_all_at(bytes, offset).unwrap();
    }

    /// Creates, writes and closes.
    fn drop_in(&self, parent: InboxId, text: &str, bytes: &[u8]) -> InboxId {
        let (attributes, open) = self.create(parent, text);
        self.write(&open, bytes, 0);
        self.spool.flush(&open).unwrap();
        self.spool.release(&open);
        attributes.id
    }

    fn make_directory(&self, parent: InboxId, text: &str) -> InboxId {
        let creator = Creator { mode: 0o755, ..creator() };
        self.spool.make_directory(parent, name(text), creator).unwrap().id
    }

    fn names(&self, id: InboxId) -> Vec<String> {
        let mut names: Vec<String> =
            self.listing(id, 7).into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }

    /// In steps of `limit`.
    fn listing(&self, id: InboxId, limit: usize) -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> = Vec::new();
        loop {
            let cookie = all.last().map_or(0, |(_, cookie)| *cookie);
            let part = self.spool.list(id, cookie, limit).unwrap();
            if part.is_empty() {
                return all;
            }
            assert!(part.len() <= limit);
            all.extend(part.into_iter().map(|entry| (entry.name.display(), entry.cookie)));
        }
    }
}

#[test]
fn a_file_is_written_in_any_order_and_read_while_written() {
    let bench = bench();
    let (attributes, writer) = bench.create(ROOT, "a.wav");
    bench.write(&writer, b"later", 10);
    bench.write(&writer, b"first", 0);
    let reader = bench.spool.open_file(attributes.id, libc::O_RDONLY).unwrap();
    let mut bytes = [0; 15];
    reader.file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"first\0\0\0\0\0later");
    bench.spool.release(&reader);
    bench.spool.release(&writer);
    assert_eq!(bench.spool.attributes(attributes.id).unwrap().bytes, 15);
    assert_eq!(fs::read(bench.inbox().join("a.wav")).unwrap(), bytes);
}

#[test]
fn an_exclusive_create_fails_where_there_is_a_file_and_another_opens_it() {
    let bench = bench();
    let id = bench.drop_in(ROOT, "a", b"old bytes");
    let create = |flags| bench.spool.create(ROOT, name("a"), creator(), flags | libc::O_WRONLY);
    assert_eq!(errno(create(libc::O_CREAT | libc::O_EXCL)), Some(libc::EEXIST));
    let (attributes, open) = create(libc::O_CREAT).unwrap();
    assert_eq!((attributes.id, attributes.bytes), (id, 9));
    bench.spool.release(&open);
    let (attributes, open) = create(libc::O_CREAT | libc::O_TRUNC).unwrap();
    assert_eq!((attributes.id, attributes.bytes), (id, 0));
    bench.spool.release(&open);
}

#[test]
fn owner_mode_and_times_are_kept_to_the_nanosecond() {
    let bench = bench();
    let id = bench.drop_in(ROOT, "a", b"x");
    let at = |seconds, nanoseconds| UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    let before_1970 = UNIX_EPOCH - Duration::new(5, 250_000_001);
    let change = SetAttributes {
        mode: Some(0o6640),
        accessed: Some(SetTime::At(before_1970)),
        modified: Some(SetTime::At(at(1_700_000_000, 123_456_789))),
        ..SetAttributes::default()
    };
    let changed = bench.spool.set_attributes(id, &change).unwrap();
    assert_eq!(changed.mode, 0o640, "set-user-id is not stored");
    assert_eq!(changed.accessed, before_1970);
    assert_eq!(changed.modified, at(1_700_000_000, 123_456_789));
    assert_eq!(bench.spool.attributes(id).unwrap(), changed);
    let change = SetAttributes { modified: Some(SetTime::Now), ..SetAttributes::default() };
    let changed = bench.spool.set_attributes(id, &change).unwrap();
    assert!(changed.modified > at(1_750_000_000, 0));
    assert_eq!(changed.accessed, before_1970);
}

#[test]
fn a_new_file_belongs_to_who_made_it() {
    if creator().uid != 0 {
        eprintln!("skipped: a_new_file_belongs_to_who_made_it: not root");
        return;
    }
    let bench = bench();
    let other = Creator { uid: 4321, gid: 1234, mode: 0o7751, thread: 0 };
    let flags = libc::O_CREAT | libc::O_WRONLY;
    let (made, open) = bench.spool.create(ROOT, name("a"), other, flags).unwrap();
    assert_eq!((made.uid, made.gid, made.mode), (4321, 1234, 0o751));
    bench.spool.release(&open);
    let made = bench.spool.make_directory(ROOT, name("d"), other).unwrap();
    assert_eq!((made.uid, made.gid, made.mode), (4321, 1234, 0o1751));
    let made = bench.spool.make_symlink(ROOT, name("l"), Path::new("a"), other).unwrap();
    assert_eq!((made.uid, made.gid), (4321, 1234));
}

#[test]
fn a_removed_file_that_is_open_goes_on_working() {
    let bench = bench();
    let (attributes, open) = bench.create(ROOT, "a");
    let id = attributes.id;
    bench.spool.unlink(ROOT, name("a")).unwrap();
    // The kernel may forget it before the last release.
    bench.spool.forget(id, 1);
    bench.write(&open, b"still here", 0);
    let attributes = bench.spool.attributes(id).unwrap();
    assert_eq!((attributes.bytes, attributes.links), (10, 0));
    let change = SetAttributes { bytes: Some(4), ..SetAttributes::default() };
    assert_eq!(bench.spool.set_attributes(id, &change).unwrap().bytes, 4);
    let again = bench.spool.open_file(id, libc::O_RDONLY).unwrap();
    assert_eq!(again.file.metadata().unwrap().len(), 4);
    bench.spool.release(&again);
    bench.spool.release(&open);
    assert!(is_missing(bench.spool.attributes(id)));
    assert_ne!(bench.drop_in(ROOT, "a", b"new"), id);
}

#[test]
fn a_file_keeps_its_number_when_it_is_renamed() {
    let bench = bench();
    let folder = bench.make_directory(ROOT, "folder");
    let id = bench.drop_in(ROOT, "a", b"a");
    let other = bench.drop_in(folder, "b", b"b");
    let rename = |from: (InboxId, &str), to: (InboxId, &str), mode| {
        bench.spool.rename((from.0, name(from.1)), (to.0, name(to.1)), mode)
    };
    let refused = rename((ROOT, "a"), (folder, "b"), RenameMode::NoReplace);
    assert_eq!(errno(refused), Some(libc::EEXIST));
    rename((ROOT, "a"), (folder, "b"), RenameMode::Exchange).unwrap();
    assert_eq!(bench.spool.lookup(folder, name("b")).unwrap().id, id);
    assert_eq!(bench.spool.lookup(ROOT, name("a")).unwrap().id, other);
    rename((ROOT, "a"), (folder, "b"), RenameMode::Replace).unwrap();
    assert_eq!(bench.spool.lookup(folder, name("b")).unwrap().id, other);
    assert!(is_missing(bench.spool.lookup(ROOT, name("a"))));
    assert!(is_missing(bench.spool.attributes(id)));
    rename((ROOT, "folder"), (ROOT, "moved"), RenameMode::NoReplace).unwrap();
    assert_eq!(bench.spool.attributes(other).unwrap().bytes, 1);
    assert_eq!(bench.spool.find(Path::new("moved/b")).unwrap(), other);
    assert!(is_missing(rename((ROOT, "gone"), (ROOT, "x"), RenameMode::Replace)));
}

#[test]
fn recordings_that_have_changed_places_are_offered_at_once_when_asked_for() {
    let bench = bench_with(SpoolOptions { settle: Duration::from_mins(10), ..options() });
    let events = bench.spool.subscribe();
    let folder = bench.make_directory(ROOT, "folder");
    let first = bench.drop_in(ROOT, "a.wav", b"first");
    let second = bench.drop_in(folder, "a.wav", b"second");
    bench
        .spool
        .rename((folder, name("a.wav")), (ROOT, name("a.wav")), RenameMode::Exchange)
        .unwrap();
    for id in [first, second] {
        bench.spool.set_attribute(id, name("user.scribefs.commit"), b"1", 0).unwrap();
        assert_eq!(expect_ready(&events).id, id);
    }
}

#[test]
fn links_are_ordinary_entries_and_are_never_followed() {
    let bench = bench();
    let secret = bench.dir.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    let link = bench.spool.make_symlink(ROOT, name("l"), &secret, creator()).unwrap();
    assert_eq!(link.kind, EntryKind::Symlink);
    assert_eq!(bench.spool.read_symlink(link.id).unwrap(), secret);
    assert_eq!(errno(bench.spool.lookup(link.id, name("key"))), Some(libc::ENOTDIR));
    assert!(bench.spool.open_file(link.id, libc::O_RDONLY).is_err());
    let change = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
    bench.spool.set_attributes(link.id, &change).unwrap();
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_folder_that_turns_into_a_link_leads_nowhere() {
    let bench = bench();
    let folder = bench.make_directory(ROOT, "folder");
    let id = bench.drop_in(folder, "a", b"mine");
    let bench = Bench { spool: Spool::open(bench.dir.path(), options()).unwrap(), dir: bench.dir };
    let elsewhere = bench.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("a"), "not mine").unwrap();
    let folder = bench.spool.lookup(ROOT, name("folder")).unwrap().id;
    fs::rename(bench.inbox().join("folder"), bench.inbox().join("away")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, bench.inbox().join("folder")).unwrap();
    let found = bench.spool.lookup(folder, name("a"));
    assert!(found.is_err() || found.unwrap().bytes == 4);
    assert!(is_missing(bench.spool.attributes(id)));
}

#[test]
fn directories_are_removed_when_empty() {
    let bench = bench();
    let folder = bench.make_directory(ROOT, "folder");
    bench.drop_in(folder, "a", b"a");
    let refused = bench.spool.remove_directory(ROOT, name("folder"));
    assert_eq!(errno(refused), Some(libc::ENOTEMPTY));
    assert_eq!(errno(bench.spool.unlink(ROOT, name("folder"))), Some(libc::EISDIR));
    bench.spool.unlink(folder, name("a")).unwrap();
    bench.spool.remove_directory(ROOT, name("folder")).unwrap();
    assert!(is_missing(bench.spool.attributes(folder)) || bench.names(ROOT).is_empty());
}

#[test]
fn names_that_no_disk_takes_are_refused() {
    let bench = bench();
    let long = "x".repeat(256);
    assert_eq!(errno(bench.spool.lookup(ROOT, name(&long))), Some(libc::ENAMETOOLONG));
    assert_eq!(errno(bench.spool.lookup(ROOT, name("a/b"))), Some(libc::EINVAL));
    assert!(is_missing(bench.spool.lookup(ROOT, name("absent"))));
}

#[test]
fn a_listing_shows_what_stays_exactly_once() {
    let bench = bench();
    for number in 0..40 {
        bench.drop_in(ROOT, &format!("stays-{number}"), b"x");
        bench.drop_in(ROOT, &format!("goes-{number}"), b"x");
    }
    let mut seen: Vec<String> = Vec::new();
    let mut cookie = 0;
    let mut round = 0;
    loop {
        let part = bench.spool.list(ROOT, cookie, 9).unwrap();
        let Some(last) = part.last() else { break };
        cookie = last.cookie;
        seen.extend(part.iter().map(|entry| entry.name.display()));
        bench.spool.unlink(ROOT, name(&format!("goes-{}", 39 - round))).unwrap();
        if round < 5 {
            bench.drop_in(ROOT, &format!("comes-{round}"), b"x");
        }
        let (from, to) = (format!("stays-{round}"), format!("stays-{round}-renamed"));
        let rename = ((ROOT, name(&from)), (ROOT, name(&to)));
        bench.spool.rename(rename.0, rename.1, RenameMode::Replace).unwrap();
        round += 1;
    }
    let unique: HashSet<&String> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "{seen:?}");
    for number in 0..40 {
        let prefix = format!("stays-{number}");
        let renamed = format!("{prefix}-renamed");
        let times = seen.iter().filter(|name| **name == prefix || **name == renamed).count();
        assert_eq!(times, 1, "{prefix}");
    }
}

#[test]
fn a_listing_goes_on_from_any_earlier_entry() {
    let bench = bench();
    for number in 0..20 {
        bench.drop_in(ROOT, &format!("{number}"), b"x");
    }
    let all = bench.listing(ROOT, 6);
    assert_eq!(all.len(), 20);
    for (place, (_, cookie)) in all.iter().enumerate() {
        let rest = bench.spool.list(ROOT, *cookie, 100).unwrap();
        let rest: Vec<u64> = rest.iter().map(|entry| entry.cookie).collect();
        let wanted: Vec<u64> = all[place + 1..].iter().map(|(_, cookie)| *cookie).collect();
        assert_eq!(rest, wanted);
    }
}

#[test]
fn what_others_do_on_the_disk_is_seen() {
    let bench = bench();
    let id = bench.drop_in(ROOT, "a", b"a");
    fs::write(bench.inbox().join("b"), "new").unwrap();
    assert_eq!(bench.spool.lookup(ROOT, name("b")).unwrap().bytes, 3);
    assert_eq!(bench.names(ROOT), ["a", "b"]);
    fs::remove_file(bench.inbox().join("a")).unwrap();
    assert!(is_missing(bench.spool.attributes(id)));
    assert_eq!(bench.names(ROOT), ["b"]);
    assert!(is_missing(bench.spool.unlink(ROOT, name("a"))));
    // Another file in place of one that is known is another entry.
    let before = bench.spool.lookup(ROOT, name("b")).unwrap().id;
    fs::write(bench.inbox().join("fresh"), "other").unwrap();
    fs::rename(bench.inbox().join("fresh"), bench.inbox().join("b")).unwrap();
    let after = bench.spool.lookup(ROOT, name("b")).unwrap();
    assert_ne!(after.id, before);
    assert_eq!(after.bytes, 5);
}

#[test]
fn a_fifo_on_the_disk_is_shown_and_blocks_nobody() {
    let bench = bench();
    let path = std::ffi::CString::new(bench.inbox().join("pipe").to_str().unwrap()).unwrap();
    // SAFETY: `path` ends in NUL, and the call only reads it.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let found = bench.spool.lookup(ROOT, name("pipe")).unwrap();
    assert_eq!(found.kind, EntryKind::Other);
    assert_eq!(errno(bench.spool.open_file(found.id, libc::O_RDONLY)), Some(libc::ENXIO));
    bench.spool.unlink(ROOT, name("pipe")).unwrap();
}

#[test]
fn users_attributes_are_kept_and_ours_are_not_theirs() {
    let bench = bench();
    let id = bench.drop_in(ROOT, "a", b"a");
    let set = |key: &str, flags| bench.spool.set_attribute(id, name(key), b"value", flags);
    set("user.colour", 0).unwrap();
    assert_eq!(errno(set("user.colour", libc::XATTR_CREATE)), Some(libc::EEXIST));
    assert_eq!(errno(set("user.other", libc::XATTR_REPLACE)), Some(libc::ENODATA));
    let get = |key: &str| bench.spool.attribute(id, name(key)).unwrap();
    assert_eq!(get("user.colour").unwrap(), b"value");
    assert_eq!(get("user.none"), None);
    assert_eq!(get("security.capability"), None);
    assert_eq!(errno(set("system.posix_acl_access", 0)), Some(libc::EOPNOTSUPP));
    let acl = bench.spool.attribute(id, name("system.posix_acl_access"));
    assert_eq!(errno(acl), Some(libc::EOPNOTSUPP));
    let long = vec![b'x'; 2000];
    bench.spool.set_attribute(id, name("user.long"), &long, 0).unwrap();
    assert_eq!(get("user.long").unwrap(), long);
    bench.spool.remove_attribute(id, name("user.long")).unwrap();
    let again = bench.spool.remove_attribute(id, name("user.long"));
    assert_eq!(errno(again), Some(libc::ENODATA));
    let names = bench.spool.attribute_names(id).unwrap();
    let stored: Vec<String> = names.iter().map(|name| name.display()).collect();
    assert_eq!(stored.iter().filter(|name| !name.starts_with("user.scribefs.")).count(), 1);
    assert!(!stored.contains(&"user.scribefs.mark".to_owned()));
}

#[test]
fn attributes_of_ours_that_a_backup_brings_back_are_accepted_and_forgotten() {
    let bench = bench();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let folder = bench.make_directory(ROOT, "folder");
    for (id, key) in [
        (id, "user.scribefs.blake3"),
        (id, "user.scribefs.state"),
        (id, "user.scribefs.mark"),
        (folder, "user.scribefs.placement"),
        (folder, "user.scribefs.retry"),
    ] {
        bench.spool.set_attribute(id, name(key), b"failed", 0).unwrap();
        assert_ne!(bench.spool.attribute(id, name(key)).unwrap().as_deref(), Some(&b"failed"[..]));
        bench.spool.remove_attribute(id, name(key)).unwrap();
    }
    assert_eq!(state(&bench, id).unwrap(), "settling");
    let gone = InboxId(u64::from(u32::MAX));
    let set = bench.spool.set_attribute(gone, name("user.scribefs.state"), b"x", 0);
    assert!(is_missing(set));
}

#[test]
fn a_listing_of_a_folder_that_goes_on_changing_ends_and_repeats_nothing() {
    let bench = bench();
    for number in 0..50 {
        bench.drop_in(ROOT, &format!("{number}"), b"x");
    }
    let mut seen: Vec<String> = Vec::new();
    let mut cookie = 0;
    // Whoever lists is slower than whoever writes: three names come and go for each that is shown.
    for round in 0.. {
        let part = bench.spool.list(ROOT, cookie, 1).unwrap();
        let Some(last) = part.last() else { break };
        assert!(round < 200, "it does not end: {seen:?}");
        cookie = last.cookie;
        seen.push(last.name.display());
        let again = seen[round].clone();
        bench.spool.unlink(ROOT, name(&again)).unwrap();
        bench.drop_in(ROOT, &again, b"made anew");
        bench.drop_in(ROOT, &format!("new-{round}"), b"x");
        // Written under another name and put in place, as editors do it.
        bench.drop_in(ROOT, "draft", b"x");
        bench.spool.rename((ROOT, name("draft")), (ROOT, name("0")), RenameMode::Replace).unwrap();
        // An old one gets a name that was shown already.
        let old = ((ROOT, name("1")), (ROOT, name("49")));
        if round == 20 {
            bench.spool.rename(old.0, old.1, RenameMode::Replace).unwrap();
        }
    }
    let unique: HashSet<&String> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "{seen:?}");
    for number in 2..49 {
        assert!(seen.contains(&number.to_string()), "{number} was there all the time");
    }
}

#[test]
fn handles_of_one_file_share_what_is_open() {
    let bench = bench();
    let (attributes, writer) = bench.create(ROOT, "a.wav");
    bench.write(&writer, b"0123456789", 0);
    let readers: Vec<_> =
        (0..50).map(|_| bench.spool.open_file(attributes.id, libc::O_RDONLY).unwrap()).collect();
    assert!(readers.iter().all(|reader| Arc::ptr_eq(&reader.file, &writer.file)));
    let cut = bench.spool.open_file(attributes.id, libc::O_WRONLY | libc::O_TRUNC).unwrap();
    assert_eq!(readers[0].file.metadata().unwrap().len(), 0);
    for open in readers.iter().chain([&writer, &cut]) {
        bench.spool.release(open);
    }
    let other = bench.spool.open_file(attributes.id, libc::O_RDONLY).unwrap();
    assert!(!Arc::ptr_eq(&other.file, &writer.file), "nothing is kept open for nobody");
    bench.spool.release(&other);
}

#[test]
fn the_space_that_is_kept_is_never_given_out() {
    let roomy = bench();
    let space = roomy.spool.space().unwrap();
    let all_bytes = space.blocks * u64::from(space.block_bytes);
    let full = bench_with(SpoolOptions { keep_free_bytes: all_bytes, ..options() });
    assert_eq!(full.spool.space().unwrap().blocks_available, 0);
    let flags = libc::O_CREAT | libc::O_WRONLY;
    let made = full.spool.create(ROOT, name("a"), creator(), flags);
    assert!(matches!(made, Err(SpoolError::Full { .. })));
    let (_, open) = roomy.create(ROOT, "a");
    assert!(roomy.spool.before_write(&open, 4096).is_ok());
    let too_much = roomy.spool.before_write(&open, all_bytes);
    assert!(matches!(too_much, Err(SpoolError::Full { .. })));
    assert!(roomy.spool.before_write(&open, 4096).is_ok(), "a refusal uses nothing up");
    roomy.spool.release(&open);
}

#[test]
fn a_synced_file_can_be_found_and_numbers_go_up_over_a_restart() {
    let bench = bench();
    let folder = bench.make_directory(ROOT, "folder");
    let (attributes, open) = bench.create(folder, "a");
    bench.write(&open, b"x", 0);
    bench.spool.sync(&open, false).unwrap();
    bench.spool.sync_directory(folder).unwrap();
    bench.spool.release(&open);
    let Bench { dir, spool } = bench;
    drop(spool);
    let spool = Spool::open(dir.path(), options()).unwrap();
    let id = spool.find(Path::new("folder/a")).unwrap();
    assert!(id > attributes.id);
    assert_eq!(spool.attributes(id).unwrap().modified, attributes_of(dir.path(), "folder/a"));
}

fn attributes_of(dir: &Path, path: &str) -> SystemTime {
    fs::metadata(dir.join("inbox").join(path)).unwrap().modified().unwrap()
}

#[test]
fn many_threads_in_one_directory_agree_with_the_disk() {
    let bench = Arc::new(bench());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let bench = bench.clone();
            std::thread::spawn(move || {
                for number in 0..50 {
                    let (one, other) =
                        (format!("{thread}-{number}"), format!("x{thread}-{number}"));
                    let id = bench.drop_in(ROOT, &one, b"x");
                    let rename = ((ROOT, name(&one)), (ROOT, name(&other)));
                    bench.spool.rename(rename.0, rename.1, RenameMode::NoReplace).unwrap();
                    assert_eq!(bench.spool.lookup(ROOT, name(&other)).unwrap().id, id);
                    if number % 2 == 0 {
                        bench.spool.unlink(ROOT, name(&other)).unwrap();
                    }
                    bench.spool.list(ROOT, 0, 1000).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let entries: io::Result<Vec<_>> = fs::read_dir(bench.inbox()).unwrap().collect();
    let mut on_disk: Vec<String> =
        entries.unwrap().iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
    on_disk.sort();
    assert_eq!(on_disk.len(), 100);
    assert_eq!(bench.names(ROOT), on_disk);
}

// Completeness: what is offered, when, and what becomes of it.

const WAV: &[u8] = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x04\0\0\0\0\0\0\0";
/// Longer than anything here takes on a slow machine that does other things too.
const DEADLINE: Duration = Duration::from_secs(60);
/// Long enough for a file that settles to have been offered, had it been going to.
const QUIET: Duration = Duration::from_millis(300);

fn expect_ready(events: &Receiver<SpoolEvent>) -> Dropped {
    let until = Instant::now() + DEADLINE;
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        match events.recv_timeout(rest).expect("nothing was offered") {
            SpoolEvent::Ready(dropped) => return dropped,
            _ => continue,
        }
    }
}

fn expect_withdrawn(events: &Receiver<SpoolEvent>, dropped: &Dropped) {
    let wanted = SpoolEvent::Withdrawn { id: dropped.id, generation: dropped.generation };
    loop {
        if events.recv_timeout(DEADLINE).expect("nothing was withdrawn") == wanted {
            return;
        }
    }
}

/// Nothing can be waited for where nothing may happen: a fence file is offered after it instead.
fn expect_nothing_ready(bench: &Bench, events: &Receiver<SpoolEvent>) {
    std::thread::sleep(QUIET);
    let fence = bench.drop_in(ROOT, "fence.wav", WAV);
    assert_eq!(expect_ready(events).id, fence);
    bench.spool.unlink(ROOT, name("fence.wav")).unwrap();
}

fn path_of(dropped: &Dropped) -> String {
    let parts: Vec<String> = dropped.path.iter().map(|name| name.display()).collect();
    parts.join("/")
}

fn failure() -> Failure {
    Failure {
        cause: FailureCause::NotAudio,
        message: "there is no sound in it".to_owned(),
        remedy: "Record it again.".to_owned(),
    }
}

fn state(bench: &Bench, id: InboxId) -> Option<String> {
    let value = bench.spool.attribute(id, name("user.scribefs.state")).unwrap();
    value.map(|value| String::from_utf8(value).unwrap())
}

/// As after a crash: nothing is released, and another daemon comes.
fn restart(bench: Bench) -> Bench {
    let Bench { dir, spool } = bench;
    drop(spool);
    let spool = Spool::open(dir.path(), options()).unwrap();
    Bench { dir, spool }
}

#[test]
fn a_recording_is_offered_after_its_last_writer_has_gone() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let folder = bench.make_directory(ROOT, "standup");
    let (attributes, first) = bench.create(folder, "monday.wav");
    let id = attributes.id;
    bench.write(&first, WAV, 0);
    let second = bench.spool.open_file(id, libc::O_RDWR).unwrap();
    bench.spool.flush(&first).unwrap();
    bench.spool.release(&first);
    expect_nothing_ready(&bench, &events);
    assert_eq!(state(&bench, id).unwrap(), "receiving");
    bench.spool.release(&second);
    let dropped = expect_ready(&events);
    assert_eq!((dropped.id, dropped.bytes), (id, WAV.len() as u64));
    assert_eq!(path_of(&dropped), "standup/monday.wav");
    assert_eq!(state(&bench, id).unwrap(), "queued");
    let taken = bench.spool.take(id, dropped.generation).unwrap();
    assert_eq!(taken.metadata().unwrap().len(), WAV.len() as u64);
    bench.spool.finish(id, dropped.generation).unwrap();
    assert_eq!(bench.names(folder), [""; 0]);
    assert_eq!(bench.names(ROOT), ["standup"], "the folder stays");
    assert!(bench.spool.works().is_empty());
}

#[test]
fn a_writer_that_comes_back_takes_the_offer_back() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let dropped = expect_ready(&events);
    let open = bench.spool.open_file(id, libc::O_WRONLY).unwrap();
    expect_withdrawn(&events, &dropped);
    assert!(!bench.spool.is_current(id, dropped.generation));
    let changed = |result: Result<(), SpoolError>| matches!(result, Err(SpoolError::Changed));
    assert!(changed(bench.spool.take(id, dropped.generation).map(drop)));
    assert!(changed(bench.spool.finish(id, dropped.generation)));
    assert!(changed(bench.spool.fail(id, dropped.generation, &failure())));
    bench.write(&open, WAV, WAV.len() as u64);
    bench.spool.release(&open);
    let again = expect_ready(&events);
    assert!(again.generation > dropped.generation);
    assert_eq!(again.bytes, 2 * WAV.len() as u64);
}

#[test]
fn removing_and_renaming_take_the_offer_back() {
    let bench = bench();
    let events = bench.spool.subscribe();
    bench.drop_in(ROOT, "a.wav", WAV);
    let dropped = expect_ready(&events);
    bench.spool.rename((ROOT, name("a.wav")), (ROOT, name("b.wav")), RenameMode::Replace).unwrap();
    expect_withdrawn(&events, &dropped);
    let dropped = expect_ready(&events);
    assert_eq!(path_of(&dropped), "b.wav");
    bench.spool.unlink(ROOT, name("b.wav")).unwrap();
    expect_withdrawn(&events, &dropped);
    assert!(bench.spool.finish(dropped.id, dropped.generation).is_err());
}

#[test]
fn renaming_a_folder_files_its_recordings_anew() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let folder = bench.make_directory(ROOT, "old");
    let id = bench.drop_in(folder, "a.wav", WAV);
    let dropped = expect_ready(&events);
    bench.spool.rename((ROOT, name("old")), (ROOT, name("new")), RenameMode::Replace).unwrap();
    expect_withdrawn(&events, &dropped);
    let dropped = expect_ready(&events);
    assert_eq!((path_of(&dropped), dropped.id), ("new/a.wav".to_owned(), id));
    bench.spool.rename((ROOT, name("new")), (ROOT, name(".new")), RenameMode::Replace).unwrap();
    expect_withdrawn(&events, &dropped);
    expect_nothing_ready(&bench, &events);
}

#[test]
fn only_recordings_are_offered() {
    let bench = bench();
    let events = bench.spool.subscribe();
    for text in ["notes.txt", "a.wav.part", ".a.wav", "._a.wav", "a.wav~", "a.wav.error.txt"] {
        bench.drop_in(ROOT, text, b"just words");
    }
    bench.drop_in(ROOT, "b.part", WAV);
    bench.drop_in(ROOT, "empty", b"");
    expect_nothing_ready(&bench, &events);
    assert!(bench.spool.works().is_empty());
    for text in ["by content", "called.wav.error.txt"] {
        bench.drop_in(ROOT, text, WAV);
        assert_eq!(path_of(&expect_ready(&events)), text);
    }
}

#[test]
fn an_empty_recording_gets_a_note_that_goes_when_something_comes() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "empty.wav", b"");
    // It is seen, and given time.
    assert_eq!(bench.spool.works().len(), 1);
    assert_eq!(bench.names(ROOT), ["empty.wav"]);
    wait_until("the note", || bench.names(ROOT).len() == 2);
    let note = fs::read_to_string(bench.inbox().join("empty.wav.error.txt")).unwrap();
    assert!(note.contains("Why: the file is empty (0 bytes)\n"), "{note}");
    assert_eq!(state(&bench, id).unwrap(), "failed");
    expect_nothing_ready(&bench, &events);
    let open = bench.spool.open_file(id, libc::O_WRONLY).unwrap();
    bench.write(&open, WAV, 0);
    bench.spool.release(&open);
    assert_eq!(path_of(&expect_ready(&events)), "empty.wav");
    assert_eq!(bench.names(ROOT), ["empty.wav"]);
}

#[test]
fn a_link_that_is_called_a_recording_is_refused() {
    let bench = bench();
    let link = |text: &str| bench.spool.make_symlink(ROOT, name(text), Path::new("x"), creator());
    let rename =
        |from: &str, to: &str, mode| bench.spool.rename((ROOT, name(from)), (ROOT, name(to)), mode);
    assert_eq!(errno(link("talk.wav")), Some(libc::EPERM));
    link("link").unwrap();
    bench.drop_in(ROOT, "a.wav", WAV);
    for (from, to, mode) in [
        ("link", "talk.WAV", RenameMode::Replace),
        ("link", "talk.m4a", RenameMode::NoReplace),
        ("link", "a.wav", RenameMode::Exchange),
        ("a.wav", "link", RenameMode::Exchange),
    ] {
        assert_eq!(errno(rename(from, to, mode)), Some(libc::EPERM), "{from} {to}");
    }
    rename("link", "other", RenameMode::Replace).unwrap();
    rename("a.wav", "b.wav", RenameMode::Replace).unwrap();
    // One that was put there behind our back can still be moved.
    std::os::unix::fs::symlink("x", bench.inbox().join("old.wav")).unwrap();
    rename("old.wav", "new.wav", RenameMode::Replace).unwrap();
}

#[test]
fn a_download_is_offered_under_its_last_name() {
    let bench = bench_with(SpoolOptions { settle: Duration::from_secs(3600), ..options() });
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav.crdownload", WAV);
    let rename = ((ROOT, name("a.wav.crdownload")), (ROOT, name("a.wav")));
    bench.spool.rename(rename.0, rename.1, RenameMode::NoReplace).unwrap();
    let dropped = expect_ready(&events);
    assert_eq!((dropped.id, path_of(&dropped)), (id, "a.wav".to_owned()));
}

#[test]
fn attributes_set_after_the_close_change_nothing() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let change = |modified| SetAttributes {
        modified: Some(SetTime::At(modified)),
        mode: Some(0o600),
        ..SetAttributes::default()
    };
    let past = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    bench.spool.set_attributes(id, &change(past)).unwrap();
    let dropped = expect_ready(&events);
    assert_eq!(dropped.modified_ns, 1_000_000_000_000_000_000);
    bench.spool.set_attributes(id, &change(past + Duration::from_secs(9))).unwrap();
    bench.spool.set_attribute(id, name("user.colour"), b"red", 0).unwrap();
    assert!(bench.spool.is_current(id, dropped.generation));
    bench.spool.take(id, dropped.generation).unwrap();
    bench.spool.finish(id, dropped.generation).unwrap();
}

#[test]
fn cutting_a_file_short_takes_the_offer_back() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let dropped = expect_ready(&events);
    let cut = |bytes| SetAttributes { bytes: Some(bytes), ..SetAttributes::default() };
    bench.spool.set_attributes(id, &cut(20)).unwrap();
    expect_withdrawn(&events, &dropped);
    assert_eq!(expect_ready(&events).bytes, 20);
    bench.spool.set_attributes(id, &cut(0)).unwrap();
    expect_nothing_ready(&bench, &events);
}

#[test]
fn a_change_behind_our_back_is_noticed_before_it_is_too_late() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let dropped = expect_ready(&events);
    fs::write(bench.inbox().join("a.wav"), [WAV, b"more"].concat()).unwrap();
    assert!(matches!(bench.spool.take(id, dropped.generation), Err(SpoolError::Changed)));
    let dropped = expect_ready(&events);
    assert_eq!(dropped.bytes, WAV.len() as u64 + 4);
    fs::write(bench.inbox().join("a.wav"), [WAV, b"even more"].concat()).unwrap();
    let finished = bench.spool.finish(id, dropped.generation);
    assert!(matches!(finished, Err(SpoolError::Changed)));
    assert_eq!(bench.names(ROOT), ["a.wav"]);
    assert_eq!(expect_ready(&events).bytes, WAV.len() as u64 + 9);
}

#[test]
fn commit_ends_the_settle_time() {
    let bench = bench_with(SpoolOptions { settle: Duration::from_secs(3600), ..options() });
    let events = bench.spool.subscribe();
    let commit = |id| bench.spool.set_attribute(id, name("user.scribefs.commit"), b"1", 0).unwrap();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    commit(id);
    assert_eq!(expect_ready(&events).id, id);
    let (attributes, open) = bench.create(ROOT, "b.wav");
    bench.write(&open, WAV, 0);
    commit(attributes.id);
    bench.spool.release(&open);
    assert_eq!(expect_ready(&events).id, attributes.id);
}

#[test]
fn a_failed_recording_has_a_note_until_it_is_touched() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let dropped = expect_ready(&events);
    bench.spool.fail(id, dropped.generation, &failure()).unwrap();
    assert_eq!(bench.names(ROOT), ["a.wav", "a.wav.error.txt"]);
    let note = fs::read_to_string(bench.inbox().join("a.wav.error.txt")).unwrap();
    assert!(
        note.contains("there is no sound in it") && note.contains("Record it again."),
        "{note}"
    );
    assert_eq!(state(&bench, id).unwrap(), "failed");
    let error = bench.spool.attribute(id, name("user.scribefs.error")).unwrap().unwrap();
    assert!(error.starts_with(b"there is no sound in it"));
    // It stays so over a restart, and when it is merely read or opened.
    let bench = restart(bench);
    let events = bench.spool.subscribe();
    let id = bench.spool.find(Path::new("a.wav")).unwrap();
    let open = bench.spool.open_file(id, libc::O_RDWR).unwrap();
    bench.spool.release(&open);
    expect_nothing_ready(&bench, &events);
    assert_eq!(state(&bench, id).unwrap(), "failed");
    let touch = SetAttributes { modified: Some(SetTime::Now), ..SetAttributes::default() };
    bench.spool.set_attributes(id, &touch).unwrap();
    assert_eq!(expect_ready(&events).id, id);
    assert_eq!(bench.names(ROOT), ["a.wav"]);
}

#[test]
fn a_note_follows_its_recording_and_goes_when_it_is_written_again() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let folder = bench.make_directory(ROOT, "folder");
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let dropped = expect_ready(&events);
    bench.spool.fail(id, dropped.generation, &failure()).unwrap();
    bench
        .spool
        .rename((ROOT, name("a.wav")), (folder, name("b.wav")), RenameMode::Replace)
        .unwrap();
    assert_eq!(bench.names(ROOT), ["folder"]);
    wait_until("the note follows", || bench.names(folder) == ["b.wav", "b.wav.error.txt"]);
    expect_nothing_ready(&bench, &events);
    let open = bench.spool.open_file(id, libc::O_WRONLY | libc::O_TRUNC).unwrap();
    bench.write(&open, &[WAV, b"x"].concat(), 0);
    bench.spool.release(&open);
    assert_eq!(path_of(&expect_ready(&events)), "folder/b.wav");
    assert_eq!(bench.names(folder), ["b.wav"]);
}

#[test]
fn a_cancelled_recording_stays_until_it_is_retried() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let dropped = expect_ready(&events);
    bench.spool.set_attribute(id, name("user.scribefs.cancel"), b"1", 0).unwrap();
    let heard: Vec<SpoolEvent> = events.try_iter().collect();
    assert!(heard.contains(&SpoolEvent::CancelRequested { id }), "{heard:?}");
    assert!(!bench.spool.is_current(id, dropped.generation));
    let bench = restart(bench);
    let events = bench.spool.subscribe();
    let id = bench.spool.find(Path::new("a.wav")).unwrap();
    assert_eq!(state(&bench, id).unwrap(), "cancelled");
    expect_nothing_ready(&bench, &events);
    bench.spool.set_attribute(id, name("user.scribefs.retry"), b"1", 0).unwrap();
    assert_eq!(expect_ready(&events).id, id);
}

#[test]
fn what_was_being_written_when_the_daemon_died_is_never_taken_by_itself() {
    let bench = bench();
    bench.drop_in(ROOT, "complete.wav", WAV);
    let (_, open) = bench.create(ROOT, "half.wav");
    bench.write(&open, WAV, 0);
    let bench = restart(bench);
    let events = bench.spool.subscribe();
    assert_eq!(path_of(&expect_ready(&events)), "complete.wav");
    expect_nothing_ready(&bench, &events);
    let half = bench.spool.find(Path::new("half.wav")).unwrap();
    assert_eq!(state(&bench, half).unwrap(), "interrupted");
    let works = bench.spool.works();
    let states: Vec<_> =
        works.iter().map(|(dropped, work)| (path_of(dropped), work.state)).collect();
    assert!(states.contains(&("half.wav".to_owned(), JobState::Interrupted)), "{states:?}");
    // A second restart finds it the same, and rewriting it makes it whole.
    let bench = restart(bench);
    let events = bench.spool.subscribe();
    let half = bench.spool.find(Path::new("half.wav")).unwrap();
    assert_eq!(state(&bench, half).unwrap(), "interrupted");
    let open = bench.spool.open_file(half, libc::O_WRONLY | libc::O_TRUNC).unwrap();
    bench.write(&open, WAV, 0);
    bench.spool.release(&open);
    while path_of(&expect_ready(&events)) != "half.wav" {}
}

#[test]
fn a_mark_that_the_disk_refuses_stands_in_a_file() {
    // A long attribute of the user's own leaves no room for the mark on most disks; elsewhere the
    // mark simply finds its room.
    let bench = bench();
    let id = bench.drop_in(ROOT, "half.wav", WAV);
    for bytes in (0..4000).rev().step_by(100) {
        let value = vec![b'x'; bytes];
        if bench.spool.set_attribute(id, name("user.filler"), &value, 0).is_ok() {
            break;
        }
    }
    for number in 0..200 {
        let filler = format!("user.filler{number}");
        if bench.spool.set_attribute(id, name(&filler), b"xxxx", 0).is_err() {
            break;
        }
    }
    let _open = bench.spool.open_file(id, libc::O_WRONLY).unwrap();
    let bench = restart(bench);
    let half = bench.spool.find(Path::new("half.wav")).unwrap();
    assert_eq!(state(&bench, half).unwrap(), "interrupted");
}

#[test]
fn a_file_that_is_too_large_is_kept_and_says_so() {
    let bench = bench_with(SpoolOptions { max_upload_bytes: Some(40), ..options() });
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let until = Instant::now() + DEADLINE;
    while !bench.names(ROOT).contains(&"a.wav.error.txt".to_owned()) {
        assert!(Instant::now() < until, "no note was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(state(&bench, id).unwrap(), "failed");
    assert!(!events.try_iter().any(|event| matches!(event, SpoolEvent::Ready(_))));
    assert_eq!(fs::read(bench.inbox().join("a.wav")).unwrap(), WAV);
}

#[test]
fn a_late_subscriber_hears_of_what_is_complete_already() {
    let bench = bench();
    let first = bench.spool.subscribe();
    bench.drop_in(ROOT, "a.wav", WAV);
    let dropped = expect_ready(&first);
    let second = bench.spool.subscribe();
    assert_eq!(second.try_recv().unwrap(), SpoolEvent::Ready(dropped.clone()));
    let work = Work { state: JobState::Transcribing, done: 0.42 };
    bench.spool.mark(dropped.id, dropped.generation, work.clone());
    assert_eq!(state(&bench, dropped.id).unwrap(), "transcribing");
    let progress = bench.spool.attribute(dropped.id, name("user.scribefs.progress")).unwrap();
    assert_eq!(progress.unwrap(), b"42");
    assert_eq!(bench.spool.works(), [(dropped.clone(), work.clone())]);
    bench.spool.mark(dropped.id, dropped.generation - 1, Work { done: 0.9, ..work.clone() });
    assert_eq!(bench.spool.works(), [(dropped, work)]);
}

#[test]
fn a_closed_spool_takes_nothing_and_offers_nothing() {
    let bench = bench();
    let (attributes, open) = bench.create(ROOT, "a.wav");
    bench.write(&open, WAV, 0);
    bench.spool.close();
    assert_eq!(errno(bench.spool.before_write(&open, 1)), Some(libc::EROFS));
    let flags = libc::O_CREAT | libc::O_WRONLY;
    let made = bench.spool.create(ROOT, name("b"), creator(), flags);
    assert_eq!(errno(made), Some(libc::EROFS));
    bench.spool.release(&open);
    assert_eq!(bench.spool.attributes(attributes.id).unwrap().bytes, WAV.len() as u64);
    let bench = restart(bench);
    assert_eq!(path_of(&expect_ready(&bench.spool.subscribe())), "a.wav");
}

/// What the disk says of a mark, past everything that we know.
fn mark_on_disk(bench: &Bench, text: &str) -> Option<Vec<u8>> {
    let path = std::ffi::CString::new(bench.inbox().join(text).to_str().unwrap()).unwrap();
    let mut value = vec![0_u8; 256];
    // SAFETY: both strings end in NUL, and `value` has as many bytes as the call is told.
    let bytes = unsafe {
        let name = c"user.scribefs.mark".as_ptr();
        libc::getxattr(path.as_ptr(), name, value.as_mut_ptr().cast(), value.len())
    };
    value.truncate(usize::try_from(bytes).ok()?);
    Some(value)
}

#[test]
fn of_writers_that_close_at_once_the_last_one_is_the_last() {
    let bench = Arc::new(bench());
    let events = bench.spool.subscribe();
    for round in 0..200 {
        let text = format!("{round}.wav");
        let (attributes, first) = bench.create(ROOT, &text);
        bench.write(&first, WAV, 0);
        let second = bench.spool.open_file(attributes.id, libc::O_RDWR).unwrap();
        let start = Arc::new(std::sync::Barrier::new(2));
        let threads = [first, second].map(|open| {
            let (bench, start) = (bench.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                bench.spool.release(&open);
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mark = mark_on_disk(&bench, &text);
        assert!(mark.is_none_or(|mark| mark.starts_with(b"closed")), "round {round}");
    }
    for _ in 0..200 {
        let dropped = expect_ready(&events);
        assert_eq!(mark_on_disk(&bench, &path_of(&dropped)), None);
    }
}

#[test]
fn a_mark_tells_of_a_writer_whoever_else_does_something_to_the_file() {
    let bench = Arc::new(bench());
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav", WAV);
    let touch = SetAttributes { modified: Some(SetTime::Now), ..SetAttributes::default() };
    for _ in 0..100 {
        let dropped = loop {
            let dropped = expect_ready(&events);
            if bench.spool.is_current(dropped.id, dropped.generation) {
                break dropped;
            }
        };
        bench.spool.fail(id, dropped.generation, &failure()).unwrap();
        let (other, change) = (bench.clone(), touch.clone());
        let toucher = std::thread::spawn(move || {
            other.spool.set_attributes(id, &change).unwrap();
        });
        let open = bench.spool.open_file(id, libc::O_WRONLY).unwrap();
        toucher.join().unwrap();
        assert_eq!(mark_on_disk(&bench, "a.wav").unwrap(), b"receiving");
        bench.write(&open, &[WAV, b"x"].concat(), 0);
        bench.spool.release(&open);
        assert_eq!(bench.names(ROOT), ["a.wav"]);
    }
}

#[test]
fn what_a_power_cut_may_have_cut_is_not_taken_by_itself() {
    let bench = bench();
    bench.drop_in(ROOT, "whole.wav", WAV);
    bench.drop_in(ROOT, "cut.wav", WAV);
    bench.drop_in(ROOT, "empty.wav", WAV);
    let Bench { dir, spool } = bench;
    drop(spool);
    // The mark of another run of the system, and what such an end leaves of the bytes.
    for (text, bytes) in [("cut.wav", 20), ("empty.wav", 0)] {
        let path = dir.path().join("inbox").join(text);
        let name = c"user.scribefs.mark".as_ptr();
        let (mark, in_c) = (b"closed\nanother-run", path.to_str().unwrap().to_owned() + "\0");
        // SAFETY: both strings end in NUL, and `mark` has as many bytes as the call is told.
        let set = unsafe {
            libc::setxattr(in_c.as_ptr().cast(), name, mark.as_ptr().cast(), mark.len(), 0)
        };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
    }
    let bench = Bench { spool: Spool::open(dir.path(), options()).unwrap(), dir };
    let events = bench.spool.subscribe();
    assert_eq!(path_of(&expect_ready(&events)), "whole.wav");
    expect_nothing_ready(&bench, &events);
    for text in ["cut.wav", "empty.wav"] {
        let id = bench.spool.find(Path::new(text)).unwrap();
        assert_eq!(state(&bench, id).unwrap(), "interrupted", "{text}");
    }
}

// Notes.

fn fail(bench: &Bench, parent: InboxId, text: &str) -> InboxId {
    let events = bench.spool.subscribe();
    let id = bench.drop_in(parent, text, WAV);
    loop {
        let dropped = expect_ready(&events);
        if dropped.id == id {
            bench.spool.fail(id, dropped.generation, &failure()).unwrap();
            return id;
        }
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_note_goes_with_its_recording() {
    let bench = bench();
    let note = || bench.inbox().join("a.wav.error.txt");
    fail(&bench, ROOT, "a.wav");
    assert_eq!(bench.names(ROOT), ["a.wav", "a.wav.error.txt"]);
    bench.spool.unlink(ROOT, name("a.wav")).unwrap();
    assert_eq!(bench.names(ROOT), [""; 0]);
    // A good one under that name is not accused of anything.
    let events = bench.spool.subscribe();
    bench.drop_in(ROOT, "a.wav", WAV);
    assert_eq!(path_of(&expect_ready(&events)), "a.wav");
    assert_eq!(bench.names(ROOT), ["a.wav"]);
    wait_until("the note is gone", || !note().exists());
    // And one that fails again has its own.
    bench.spool.unlink(ROOT, name("a.wav")).unwrap();
    fail(&bench, ROOT, "a.wav");
    bench.spool.unlink(ROOT, name("a.wav")).unwrap();
    fail(&bench, ROOT, "a.wav");
    assert_eq!(bench.names(ROOT), ["a.wav", "a.wav.error.txt"]);
}

#[test]
fn a_note_goes_with_a_recording_that_another_file_replaces() {
    let bench = bench();
    fail(&bench, ROOT, "a.wav");
    bench.drop_in(ROOT, "good", b"words");
    bench.spool.rename((ROOT, name("good")), (ROOT, name("a.wav")), RenameMode::Replace).unwrap();
    assert_eq!(bench.names(ROOT), ["a.wav"]);
}

#[test]
fn a_folder_is_removed_with_what_its_listing_has_shown() {
    // As `rm -r` does it: one listing, then every name, in any order.
    for is_reversed in [false, true] {
        let bench = bench();
        let folder = bench.make_directory(ROOT, "folder");
        fail(&bench, folder, "a.wav");
        fail(&bench, folder, "b.wav");
        let mut names = bench.names(folder);
        assert_eq!(names.len(), 4);
        if is_reversed {
            names.reverse();
        }
        for text in names {
            bench.spool.lookup(folder, name(&text)).unwrap();
            bench.spool.unlink(folder, name(&text)).unwrap();
        }
        bench.spool.remove_directory(ROOT, name("folder")).unwrap();
    }
    // Whoever only removes recordings gets rid of the folder too.
    let bench = bench();
    let folder = bench.make_directory(ROOT, "folder");
    fail(&bench, folder, "a.wav");
    bench.spool.unlink(folder, name("a.wav")).unwrap();
    bench.spool.remove_directory(ROOT, name("folder")).unwrap();
}

#[test]
fn a_file_of_the_users_own_is_no_note() {
    let bench = bench();
    bench.drop_in(ROOT, "a.wav.error.txt", b"my own words");
    let id = fail(&bench, ROOT, "a.wav");
    assert_eq!(bench.names(ROOT), ["a.wav", "a.wav-2.error.txt", "a.wav.error.txt"]);
    let own = || fs::read(bench.inbox().join("a.wav.error.txt")).unwrap();
    assert_eq!(own(), b"my own words");
    bench.spool.retry(id).unwrap();
    assert_eq!(bench.names(ROOT), ["a.wav", "a.wav.error.txt"]);
    bench.spool.unlink(ROOT, name("a.wav")).unwrap();
    assert_eq!(bench.names(ROOT), ["a.wav.error.txt"]);
    assert_eq!(own(), b"my own words");
    // A note that somebody writes to becomes the user's own.
    fail(&bench, ROOT, "b.wav");
    let note = bench.inbox().join("b.wav.error.txt");
    let text = fs::read_to_string(&note).unwrap() + "Asked Anna.\n";
    fs::write(&note, text).unwrap();
    bench.spool.unlink(ROOT, name("b.wav")).unwrap();
    assert_eq!(bench.names(ROOT), ["a.wav.error.txt", "b.wav.error.txt"]);
}

#[test]
fn notes_of_long_names_do_not_meet() {
    let bench = bench();
    let long = |last: &str| format!("{}{last}.wav", "x".repeat(250));
    fail(&bench, ROOT, &long("a"));
    fail(&bench, ROOT, &long("b"));
    let names = bench.names(ROOT);
    assert_eq!(names.len(), 4, "{names:?}");
    bench.spool.unlink(ROOT, name(&long("a"))).unwrap();
    let left = bench.names(ROOT);
    let note = left.iter().find(|name| name.ends_with(".error.txt")).unwrap();
    let text = fs::read_to_string(bench.inbox().join(note)).unwrap();
    assert_eq!((left.len(), text.lines().next()), (2, Some(&*long("b"))));
}

// Recordings that say by themselves that more is to come.

#[test]
fn a_transfer_that_broke_off_is_one_recording_when_it_is_resumed() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let whole = [&WAV[..40], &[8, 0, 0, 0], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let id = bench.drop_in(ROOT, "a.wav", &whole[..46]);
    // As rsync leaves it, and what is whole by its bytes alone.
    let left = bench.drop_in(ROOT, "left.wav", WAV);
    let at_0 = SetAttributes { modified: Some(SetTime::At(UNIX_EPOCH)), ..Default::default() };
    bench.spool.set_attributes(left, &at_0).unwrap();
    expect_nothing_ready(&bench, &events);
    assert_eq!(state(&bench, id).unwrap(), "settling");
    let open = bench.spool.open_file(id, libc::O_WRONLY).unwrap();
    bench.write(&open, &whole[46..], 46);
    bench.spool.release(&open);
    let dropped = expect_ready(&events);
    assert_eq!((dropped.id, dropped.bytes), (id, whole.len() as u64));
    bench.spool.set_attribute(left, name("user.scribefs.commit"), b"1", 0).unwrap();
    assert_eq!(expect_ready(&events).id, left);
}

#[test]
fn a_transfer_that_is_never_resumed_is_taken_as_far_as_it_got() {
    let bench = bench_with(SpoolOptions { settle: Duration::from_millis(10), ..options() });
    let events = bench.spool.subscribe();
    let id = bench.drop_in(ROOT, "a.wav", &[&WAV[..40], &[8, 0, 0, 0], &[1, 2, 3]].concat());
    assert_eq!(expect_ready(&events).id, id);
}

// Folders.

/// As a program does it that copies a folder: makes it and goes on to fill it.
fn copy_folder(bench: &Bench, parent: InboxId, text: &str, files: &[&str]) -> InboxId {
    let by = Creator { mode: 0o755, thread: 4711, ..creator() };
    let folder = bench.spool.make_directory(parent, name(text), by).unwrap().id;
    for text in files {
        let flags = libc::O_WRONLY | libc::O_CREAT;
        let (_, open) = bench.spool.create(folder, name(text), by, flags).unwrap();
        bench.write(&open, WAV, 0);
        bench.spool.release(&open);
    }
    folder
}

fn publish_all(bench: &Bench, events: &Receiver<SpoolEvent>, count: usize) {
    for _ in 0..count {
        let dropped = expect_ready(events);
        bench.spool.finish(dropped.id, dropped.generation).unwrap();
    }
}

#[test]
fn a_folder_that_was_copied_here_leaves_with_the_last_recording_in_it() {
    let bench = bench();
    let events = bench.spool.subscribe();
    let card = copy_folder(&bench, ROOT, "card", &[]);
    copy_folder(&bench, card, "one", &["a.wav", "b.wav"]);
    copy_folder(&bench, card, "other", &["c.wav"]);
    publish_all(&bench, &events, 3);
    wait_until("the folders are gone", || !bench.inbox().join("card").exists());
    assert_eq!(bench.names(ROOT), [""; 0]);
}

#[test]
fn a_folder_that_was_made_empty_or_holds_more_stays() {
    let bench = bench();
    let events = bench.spool.subscribe();
    // By one program, and filled by another.
    let standup = copy_folder(&bench, ROOT, "standup", &[]);
    bench.drop_in(standup, "monday.wav", WAV);
    copy_folder(&bench, ROOT, "with notes", &["a.wav", "notes.txt.part"]);
    let fence = copy_folder(&bench, ROOT, "fence", &["z.wav"]);
    publish_all(&bench, &events, 3);
    wait_until("the fence is gone", || is_missing(bench.spool.attributes(fence)));
    assert_eq!(bench.names(ROOT), ["standup", "with notes"]);
}

#[test]
fn a_folder_that_was_copied_here_leaves_after_a_restart_too() {
    let bench = bench();
    copy_folder(&bench, ROOT, "card", &["a.wav"]);
    let bench = restart(bench);
    let events = bench.spool.subscribe();
    publish_all(&bench, &events, 1);
    wait_until("the folder is gone", || !bench.inbox().join("card").exists());
}

#[test]
fn near_the_end_of_the_disk_all_writing_is_counted() {
    let space = bench().spool.space().unwrap();
    let free_bytes = space.blocks_available * u64::from(space.block_bytes);
    if free_bytes < 2 << 30 {
        eprintln!(
            "skipped: near_the_end_of_the_disk_all_writing_is_counted: less than 2 GB are free"
        );
        return;
    }
    for (keep_free_bytes, is_counted) in [(0, false), (free_bytes.saturating_sub(1 << 29), true)] {
        let bench = bench_with(SpoolOptions { keep_free_bytes, ..options() });
        let (attributes, open) = bench.create(ROOT, "a.wav");
        assert_eq!(open.is_counted, is_counted);
        bench.spool.release(&open);
        let open = bench.spool.open_file(attributes.id, libc::O_WRONLY).unwrap();
        assert_eq!(open.is_counted, is_counted);
        bench.spool.release(&open);
        let open = bench.spool.open_file(attributes.id, libc::O_RDONLY).unwrap();
        assert!(!open.is_counted, "a reader fills no disk");
        bench.spool.release(&open);
    }
}
