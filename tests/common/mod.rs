//! A real mount in this process, over a real spool, index and store in a temporary folder.
#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod bucket;
pub(crate) mod sample;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use scribefs::fs::{FsContext, Mount, MountOptions};
use scribefs::index::Index;
use scribefs::model::{
    Conversation, ConversationId, Day, DayTranscript, Failure, FailureCause, FileName, InboxId,
    Job, JobId, JobState, Key, Object, Page, PageKind, Placement, Recording,
};
use scribefs::spool::{Spool, SpoolOptions};
use scribefs::store::{LocalStore, Store};
use tempfile::TempDir;

/// Longer than anything here takes on a slow machine that does other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A mount and what is behind it.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) options: MountOptions,
    pub(crate) services: FsContext,
    mount: Option<Mount>,
}

/// Says that a test is skipped, and why.
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
}

pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid only reads a number.
    unsafe { libc::geteuid() == 0 }
}

impl World {
    /// A fresh one; `None`, said aloud, where nothing can be mounted.
    pub(crate) fn new(test: &str) -> Option<Self> {
        Self::with_spool(test, quiet_spool())
    }

    pub(crate) fn with_spool(test: &str, spool: SpoolOptions) -> Option<Self> {
        if File::options().read(true).write(true).open("/dev/fuse").is_err() {
            skip(test, "/dev/fuse cannot be opened");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let services = services_in(dir.path(), spool);
        let options = MountOptions::new(dir.path().join("mount"));
        Some(Self::mounted(dir, options, services))
    }

    /// A read-only mount of what is in `store`, with nothing in its index yet.
    pub(crate) fn read_only(test: &str, store: Arc<dyn Store>) -> Option<Self> {
        if File::options().read(true).write(true).open("/dev/fuse").is_err() {
            skip(test, "/dev/fuse cannot be opened");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let services = FsContext { store, ..services_in(dir.path(), quiet_spool()) };
        let options =
            MountOptions { read_only: true, ..MountOptions::new(dir.path().join("mount")) };
        Some(Self::mounted(dir, options, services))
    }

    fn mounted(dir: TempDir, options: MountOptions, services: FsContext) -> Self {
        std::fs::create_dir(&options.mountpoint).unwrap();
        let mount = Some(Mount::start(&options, &services).unwrap());
        Self { dir, options, services, mount }
    }

    /// Ends the mount, and begins another with the services as they are.
    pub(crate) fn mount_again(&mut self) {
        self.stop();
        self.mount = Some(Mount::start(&self.options, &self.services).unwrap());
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.options.mountpoint.join(below)
    }

    /// The same path of the real folder behind the inbox.
    pub(crate) fn mount(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    /// Ends the mount, and begins another over the same state.
    pub(crate) fn remount(&mut self) {
        self.stop();
        let dir = self.dir.path().to_owned();
        // The rooms lock their folders, so the old ones go first.
        let store = self.services.store.clone();
        self.services.spool.close();
        self.services.index.close().unwrap();
        let index = dir.join("index.redb");
        self.services = FsContext {
            spool: Spool::open(&dir.join("spool"), quiet_spool()).unwrap(),
            index: until("the index is free", || Index::open(&index).ok()),
            store,
            facts: Arc::new(()),
        };
        self.mount = Some(Mount::start(&self.options, &self.services).unwrap());
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mount) = self.mount.take() {
            mount.stop();
        }
    }

    pub(crate) fn publish(&self, conversation: &str, day: Day, name: &str) -> Recording {
        publish(&self.services, conversation, day, name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Never takes a file for complete while a test runs.
pub(crate) fn quiet_spool() -> SpoolOptions {
    SpoolOptions {
        settle: Duration::from_secs(3600),
        settle_after_rename: Duration::from_secs(3600),
        max_upload_bytes: None,
        keep_free_bytes: 0,
        sync_on_close: false,
    }
}

pub(crate) fn services_in(dir: &Path, spool: SpoolOptions) -> FsContext {
    FsContext {
        spool: Spool::open(&dir.join("spool"), spool).unwrap(),
        index: Index::open(&dir.join("index.redb")).unwrap(),
        store: Arc::new(LocalStore::open(&dir.join("uploads")).unwrap()),
        facts: Arc::new(()),
    }
}

pub(crate) fn day(year: i16, month: i8, day: i8) -> Day {
    Day::from_ymd(year, month, day).unwrap()
}

/// What every published file of these tests says.
pub(crate) fn content(key: &Key) -> Vec<u8> {
    format!("this is {key}\n").into_bytes()
}

fn object(store: &dyn Store, key: Key, bytes: &[u8]) -> Object {
    store.put(&key, bytes).unwrap();
    Object { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string(), key }
}

/// A recording as the pipeline publishes it, through the same doors.
pub(crate) fn publish(services: &FsContext, conversation: &str, day: Day, name: &str) -> Recording {
    publish_at(services, conversation, day, name, "2024-01-15T10:02:00Z".parse().unwrap())
}

pub(crate) fn publish_at(
    services: &FsContext,
    conversation: &str,
    day: Day,
    name: &str,
    at: Timestamp,
) -> Recording {
    let id = ConversationId::new(conversation).unwrap();
    let conversation = services.index.ensure_conversation(&id, at).unwrap();
    let name = FileName::new(name).unwrap();
    let wanted = FileName::new(name.split_extension().0).unwrap();
    let reservation = services.index.reserve(conversation.seq, day, &wanted).unwrap();
    let (id, stem) = (reservation.id, reservation.stem.clone());
    let recording = recording(services, &conversation, id, &stem, &name, at);
    let store = &*services.store;
    let key = Key::transcript(&conversation.filed_as, day);
    let bytes = content(&key);
    let transcript = DayTranscript {
        conversation: conversation.seq,
        day,
        object: object(store, key, &bytes),
        modified_at: at,
        access: None,
    };
    services.index.publish(recording.clone(), transcript, None).unwrap();
    recording
}

fn recording(
    services: &FsContext,
    conversation: &Conversation,
    id: scribefs::model::RecordingId,
    stem: &FileName,
    name: &FileName,
    at: Timestamp,
) -> Recording {
    let store = &*services.store;
    let extension = name.split_extension().1.unwrap_or_default();
    let filed = &conversation.filed_as;
    let audio = Key::audio(filed, id.day, stem.as_bytes(), extension);
    let kinds = [PageKind::Json, PageKind::Srt, PageKind::Vtt, PageKind::Metadata];
    let pages = kinds.into_iter().map(|kind| {
        let key = Key::page(filed, id.day, stem.as_bytes(), kind);
        let bytes = content(&key);
        Page { kind, object: object(store, key, &bytes), written_at: None }
    });
    let audio_name = FileName::new([stem.as_bytes(), b".", extension].concat()).unwrap();
    let bytes = content(&audio);
    let audio = object(store, audio, &bytes);
    Recording {
        audio_name,
        original_name: name.clone(),
        placement: Placement::Local,
        ..sample::recording(id, filed, stem, audio, pages.collect(), at)
    }
}

/// The row of a job that ended without a transcript, for a file at the top of the inbox.
pub(crate) fn failed_job(number: u64, name: &str) -> Job {
    Job {
        id: JobId(number),
        inbox: InboxId(number),
        generation: 1,
        path: vec![FileName::new(name).unwrap()],
        bytes: 16,
        modified_ns: 0,
        conversation: ConversationId::new("a").unwrap(),
        state: JobState::Failed,
        attempts: 1,
        recipe: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        failure: Some(Failure {
            cause: FailureCause::Storage,
            message: "It cannot be read: No such file or directory (os error 2).".to_owned(),
            remedy: "Drop it again.".to_owned(),
        }),
        remark: None,
        recording: None,
    }
}

/// Asks again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Names in a folder, in order.
pub(crate) fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The errno of a call that returns -1, or 0.
pub(crate) fn errno_of(result: libc::c_int) -> i32 {
    if result == -1 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

pub(crate) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

pub(crate) fn getxattr(path: &Path, name: &str) -> io::Result<String> {
    let (path, name) = (c_path(path), CString::new(name).unwrap());
    let mut value = vec![0u8; 4096];
    // SAFETY: two strings that end in NUL, and a buffer of the length named.
    let length = unsafe {
        libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    value.truncate(length);
    Ok(String::from_utf8(value).unwrap())
}

pub(crate) fn setxattr(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (c_path(path), CString::new(name).unwrap());
    // SAFETY: two strings that end in NUL, and a value of the length named.
    let result = unsafe {
        libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
