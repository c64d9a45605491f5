//! What the mount costs: the same work on the mount and on a native folder with the same files, in one run.
//!
//! `cargo bench --bench mount` prints a table; `scripts/bench` does the same and prepares for it. The floor is the
//! kernel: beside ours stands what a FUSE filesystem takes that answers from memory and does nothing else.

mod floor;
#[path = "../tests/common/sample.rs"]
mod sample;

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use scribefs::index::Index;
use scribefs::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, Key, Object, Page,
    PageKind, Recording, RecordingId,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Recordings of a conversation: one on each of so many days.
const DAYS: u32 = 10;
/// Each is measured so often; the best counts, as nothing makes work faster than it is.
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    if File::options().read(true).write(true).open("/dev/fuse").is_err() {
        writeln!(std::io::stderr(), "skipped: /dev/fuse cannot be opened")?;
        return Ok(());
    }
    let mut table = Table::default();
    many_recordings(&mut table)?;
    files_beside_native(&mut table)?;
    inbox_beside_native(&mut table)?;
    table.print()
}

/// Lines of what was measured, with the bound that each should keep.
#[derive(Default)]
struct Table {
    lines: Vec<(String, String, String)>,
}

impl Table {
    fn ratio(&mut self, what: &str, ours: Duration, native: Duration, bound: &str) {
        let ratio = ours.as_secs_f64() / native.as_secs_f64();
        let figure = format!("{ratio:.2} times native ({ours:.2?} against {native:.2?})");
        self.lines.push((what.to_owned(), figure, bound.to_owned()));
    }

    fn line(&mut self, what: &str, figure: String, bound: &str) {
        self.lines.push((what.to_owned(), figure, bound.to_owned()));
    }

    fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for (what, figure, bound) in &self.lines {
            writeln!(out, "{what:<44} {figure:<52} wanted: {bound}")?;
        }
        Ok(())
    }
}

/// A daemon on a state folder.
struct Mounted {
    /// Apart from the state: a mount hides what lies below it.
    _folder: tempfile::TempDir,
    daemon: Child,
    root: PathBuf,
    answered_after: Duration,
}

impl Mounted {
    fn start(dir: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().to_owned();
        let begun = Instant::now();
        let daemon = Command::new(env!("CARGO_BIN_EXE_scribefs"))
            .arg("mount")
            .arg(&root)
            .args(["--foreground", "--settle", "1h", "--log-level", "error", "--state"])
            .arg(dir)
            .stderr(Stdio::null())
            .spawn()?;
        let status = root.join(".scribefs/status.json");
        while fs::read(&status).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(120), "the mount does not answer");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { _folder: folder, daemon, root, answered_after: begun.elapsed() })
    }

    /// Memory that the daemon has for itself, in KiB.
    fn memory_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default();
        Ok(line.split_whitespace().nth(1).unwrap_or("0").parse()?)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let umount =
            Command::new(env!("CARGO_BIN_EXE_scribefs")).arg("umount").arg(&self.root).status();
        // The daemon ends with its mount; if not, it is ended here.
        if !umount.is_ok_and(|status| status.success()) {
            let _ = self.daemon.kill();
        }
        let _ = self.daemon.wait();
    }
}

/// 100,000 recordings in the index: how soon the mount answers, and what a full listing costs.
fn many_recordings(table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    fill(dir.path(), 100_000, false)?;
    let mounted = Mounted::start(dir.path())?;
    table.line(
        "100,000 recordings: mount answers after",
        format!("{:.2?}", mounted.answered_after),
        "under 1 s",
    );
    let before = mounted.memory_kib()?;
    let begun = Instant::now();
    run("ls", &["-lR"], &mounted.root.join("conversations"))?;
    let took = begun.elapsed();
    let grown = mounted.memory_kib()?.saturating_sub(before) / 1024;
    table.line("  ls -lR of their 700,000 files, cold", format!("{took:.2?}"), "it ends");
    table.line("  memory of the daemon grows by", format!("{grown} MB"), "at most 50 MB");
    Ok(())
}

/// 100,000 files, on the mount and in the store's own folder.
fn files_beside_native(table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    fill(dir.path(), 16_700, true)?;
    let mounted = Mounted::start(dir.path())?;
    let (ours, native) = (mounted.root.join("conversations"), dir.path().join("uploads"));
    let bare = dir.path().join("floor");
    fs::create_dir(&bare)?;
    let session = floor::mount(&native, 1 << 20, &bare)?;
    let mut compare = |what: &str, program: &str, arguments: &[&str], bound: &str| -> Result<()> {
        let [a, b, c] = [&ours, &native, &bare].map(|folder| || run(program, arguments, folder));
        let [a, b, c] = best_of([&mut { a }, &mut { b }, &mut { c }])?;
        let at_least = c.as_secs_f64() / b.as_secs_f64();
        table.ratio(what, a, b, &format!("{bound}; FUSE itself {at_least:.2}"));
        Ok(())
    };
    compare("ls -lR over 100,000 files, warm", "ls", &["-lR"], "at most 1.1")?;
    let transcripts = ["-r", "--include=*_transcript.txt", "needle"];
    compare(
        "grep -r over 16,700 transcripts, warm",
        "grep",
        &transcripts,
        "at most 4 (for 10,000)",
    )?;
    session.umount_and_join()?;
    let large = "conversation-0/2024/01/01/recording.wav";
    let [a, b] = best_of([&mut || read(&ours.join(large)), &mut || read(&native.join(large))])?;
    let speed = b.as_secs_f64() / a.as_secs_f64();
    let figure = format!("{speed:.2} of native speed ({a:.2?} against {b:.2?})");
    table.line("reading 256 MiB, warm", figure, "at least 0.9");
    Ok(())
}

/// Writing into the inbox, and into a native folder on the same disk.
fn inbox_beside_native(table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mounted = Mounted::start(dir.path())?;
    let (ours, native) = (mounted.root.join("inbox"), dir.path().join("native"));
    fs::create_dir(&native)?;
    let [a, b] = best_of([&mut || create_many(&ours), &mut || create_many(&native)])?;
    table.ratio("creating 1,000 files of 4 KiB", a, b, "at most 10");
    let [a, b] = best_of([&mut || write_large(&ours), &mut || write_large(&native)])?;
    table.ratio("writing 64 MiB with fsync", a, b, "at most 2");
    Ok(())
}

/// One after the other, so that all see the same machine; a first round only warms.
fn best_of<const N: usize>(
    mut works: [&mut dyn FnMut() -> Result<()>; N],
) -> Result<[Duration; N]> {
    let mut best = [Duration::MAX; N];
    for round in 0..=ROUNDS {
        for (work, best) in works.iter_mut().zip(&mut best) {
            let took = timed(work)?;
            if round != 0 {
                *best = took.min(*best);
            }
        }
    }
    Ok(best)
}

fn timed(work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<()> {
    // Not to /dev/null itself: grep would stop at the first match, and find none here anyway.
    let mut child =
        Command::new(program).args(arguments).arg(folder).stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().ok_or("no output")?;
    std::io::copy(&mut out, &mut std::io::sink())?;
    child.wait()?;
    Ok(())
}

fn read(file: &Path) -> Result<()> {
    let mut file = File::open(file)?;
    let mut piece = vec![0; 1 << 20];
    while file.read(&mut piece)? != 0 {}
    Ok(())
}

fn create_many(folder: &Path) -> Result<()> {
    let content = [7; 4096];
    let there = fs::read_dir(folder)?.count();
    for number in there..there + 1_000 {
        fs::write(folder.join(format!("file-{number}.txt")), content)?;
    }
    Ok(())
}

fn write_large(folder: &Path) -> Result<()> {
    let path = folder.join("large.txt");
    let piece = vec![7; 1 << 20];
    let mut file = File::create(&path)?;
    for _ in 0..64 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    fs::remove_file(path)?;
    Ok(())
}

/// An index of so many recordings, with their files in the store or without.
fn fill(state: &Path, count: u32, with_files: bool) -> Result<()> {
    let index = Index::open(&state.join("index.redb"))?;
    let mut rows = Vec::new();
    for number in 0..count {
        let row = row(number)?;
        if with_files {
            write_files(&state.join("uploads"), &row.1, &row.2)?;
        }
        rows.push(row);
        if rows.len() == 10_000 {
            index.adopt(std::mem::take(&mut rows))?;
        }
    }
    index.adopt(rows)?;
    Ok(index.close()?)
}

fn row(number: u32) -> Result<(Conversation, Recording, DayTranscript)> {
    let at: Timestamp = "2024-01-15T10:02:00Z".parse()?;
    let id = ConversationId::new(&format!("conversation-{}", number / DAYS)).ok_or("id")?;
    let seq = ConversationSeq(number / DAYS + 1);
    let in_january = i8::try_from(number % DAYS)? + 1;
    let day = Day::from_ymd(2024, 1, in_january).ok_or("day")?;
    let bytes = if number == 0 { 256 << 20 } else { 1_000 };
    let object = |key: Key, bytes: u64| Object { key, bytes, blake3: format!("{number:064x}") };
    let page = |kind| {
        let object = object(Key::page(&id, day, b"recording", kind), 500);
        Page { kind, object, written_at: None }
    };
    let kinds = [PageKind::Json, PageKind::Srt, PageKind::Vtt, PageKind::Metadata];
    let recording_id = RecordingId { conversation: seq, day, number: 1 };
    let audio = object(Key::audio(&id, day, b"recording", b"wav"), bytes);
    let stem = FileName::new("recording").ok_or("name")?;
    let pages = kinds.map(page).to_vec();
    let recording = sample::recording(recording_id, &id, &stem, audio, pages, at);
    let conversation = Conversation {
        seq,
        id: id.clone(),
        filed_as: id.clone(),
        created_at: at,
        trashed_at: None,
    };
    let transcript = DayTranscript {
        conversation: seq,
        day,
        object: object(Key::transcript(&id, day), 2_000),
        modified_at: at,
        access: None,
    };
    Ok((conversation, recording, transcript))
}

fn write_files(store: &Path, recording: &Recording, transcript: &DayTranscript) -> Result<()> {
    let pages = recording.pages.iter().map(|page| &page.object);
    for object in pages.chain([&recording.audio, &transcript.object]) {
        let path = store.join(object.key.as_str());
        fs::create_dir_all(path.parent().ok_or("folder")?)?;
        let file = File::create(path)?;
        (&file).write_all(&vec![b'x'; usize::try_from(object.bytes.min(2_000))?])?;
        file.set_len(object.bytes)?;
    }
    Ok(())
}
