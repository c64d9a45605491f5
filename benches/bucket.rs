//! What reading from a bucket costs: a large object through the mount and through a plain client, in one run, from
//! the same server. The floor is the server and the client library; the mount adds FUSE, the cache's copy on
//! disk and the proof of every byte.
//!
//! `cargo bench --bench bucket` prints a table: for moto where `scripts/moto` has been, and for Garage where
//! `scripts/garage` has been and SCRIBEFS_FULL is set.

#[path = "../tests/common/sample.rs"]
mod sample;
#[path = "../tests/servers/mod.rs"]
mod servers;

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use scribefs::index::Index;
use scribefs::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, Destination, FileName, Key,
    Object, RecordingId,
};
use scribefs::store::{Bucket, BucketOptions, S3Bucket, Store};

use servers::{GARAGE_BUCKET, Server};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const BYTES: u64 = 512 << 20;
/// Each is measured so often; the best counts, as nothing makes work faster than it is.
const ROUNDS: usize = 4;

fn main() -> Result<()> {
    if File::options().read(true).write(true).open("/dev/fuse").is_err() {
        writeln!(std::io::stderr(), "skipped: /dev/fuse cannot be opened")?;
        return Ok(());
    }
    if let Some(moto) = Server::moto("moto") {
        measure("moto", &moto.fresh_bucket())?;
    }
    if let Some(garage) = Server::garage("Garage") {
        measure("Garage", &garage.options(GARAGE_BUCKET))?;
    }
    Ok(())
}

fn measure(server: &str, options: &BucketOptions) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let local = dir.path().join("local");
    write_sound(&local)?;
    let bucket = S3Bucket::open(options)?;
    let key = fill(dir.path(), options, &bucket, &local)?;
    let path = dir.path().join("mount/conversations/talk/2024/01/15/talk.wav");
    let mut best = [Duration::MAX; 5];
    for _ in 0..ROUNDS {
        let cache = dir.path().join("state/cache");
        if cache.exists() {
            fs::remove_dir_all(&cache)?;
        }
        let mounted = Mounted::start(dir.path(), options)?;
        let plain = timed(|| download(&bucket, &key))?;
        let cold = timed(|| read(&path))?;
        let warm = timed(|| read(&path))?;
        drop(mounted);
        let mounted = Mounted::start(dir.path(), options)?;
        let cached = timed(|| read(&path))?;
        drop(mounted);
        let native = timed(|| read(&local))?;
        for (best, took) in best.iter_mut().zip([plain, cold, warm, cached, native]) {
            *best = took.min(*best);
        }
    }
    let [plain, cold, warm, cached, native] = best;
    let speed = |took: Duration| (BYTES >> 20) as f64 / took.as_secs_f64();
    let mut out = std::io::stdout().lock();
    let mut line = |what: &str, took: Duration, beside: Duration, wanted: &str| {
        let share = beside.as_secs_f64() / took.as_secs_f64();
        let (mib, beside) = (speed(took), speed(beside));
        let what = format!("{server}: {what}");
        writeln!(out, "{what:<44} {mib:>6.0} MiB/s, {share:.2} of {beside:.0} MiB/s   {wanted}")
    };
    line("cold, in order, beside a plain client", cold, plain, "wanted: at least 0.9")?;
    line("again, beside a local file", warm, native, "wanted: 0.9")?;
    line("from the cache after a new mount, beside it", cached, native, "")?;
    Ok(())
}

/// Bytes that do not repeat.
fn write_sound(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let mut reader = blake3::Hasher::new().finalize_xof();
    let mut piece = vec![0; 1 << 20];
    for _ in 0..BYTES >> 20 {
        reader.fill(&mut piece);
        file.write_all(&piece)?;
    }
    Ok(())
}

/// An index that knows of one recording in the bucket, and the recording there.
fn fill(dir: &Path, options: &BucketOptions, bucket: &S3Bucket, local: &Path) -> Result<Key> {
    let state = dir.join("state");
    fs::create_dir_all(&state)?;
    let id = ConversationId::new("talk").ok_or("id")?;
    let day = Day::from_ymd(2024, 1, 15).ok_or("day")?;
    let key = Key::audio(&id, day, b"talk", b"wav");
    bucket.put_file(&key, &File::open(local)?)?;
    let blake3 = blake3::Hasher::new().update_reader(File::open(local)?)?.finalize();
    let at: Timestamp = "2024-01-15T10:02:00Z".parse()?;
    let object = |key: &Key, bytes| Object { key: key.clone(), bytes, blake3: blake3.to_string() };
    let recording_id = RecordingId { conversation: ConversationSeq(1), day, number: 1 };
    let stem = FileName::new("talk").ok_or("name")?;
    let recording =
        sample::recording(recording_id, &id, &stem, object(&key, BYTES), Vec::new(), at);
    let (seq, filed_as) = (ConversationSeq(1), id.clone());
    let conversation =
        Conversation { seq, id: id.clone(), filed_as, created_at: at, trashed_at: None };
    let object = object(&Key::transcript(&id, day), 1);
    let transcript =
        DayTranscript { conversation: seq, day, object, modified_at: at, access: None };
    let index = Index::open(&state.join("index.redb"))?;
    let endpoint = options.endpoint.clone().unwrap_or_default();
    let place = format!("s3://{}/ at {endpoint}", options.bucket);
    index.set_destination(&Destination::Bucket { place })?;
    index.adopt(vec![(conversation, recording, transcript)])?;
    index.close()?;
    Ok(key)
}

/// A daemon on the state folder below `dir`.
struct Mounted {
    daemon: Child,
    root: PathBuf,
}

impl Mounted {
    fn start(dir: &Path, options: &BucketOptions) -> Result<Self> {
        let root = dir.join("mount");
        fs::create_dir_all(&root)?;
        let scribefs::store::Keys::Given { id, secret, .. } = &options.keys else {
            return Err("keys were to be given".into());
        };
        let daemon = Command::new(env!("CARGO_BIN_EXE_scribefs"))
            .arg("mount")
            .arg(&root)
            .args(["--foreground", "--log-level", "error", "--state"])
            .arg(dir.join("state"))
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret.reveal())
            .env("S3_BUCKET_NAME", &options.bucket)
            .env("S3_ENDPOINT_URL", options.endpoint.as_deref().unwrap_or_default())
            .env("S3_REGION", options.region.as_deref().unwrap_or_default())
            .env("SCRIBEFS_S3_PROVIDER", options.provider.name())
            .stderr(Stdio::null())
            .spawn()?;
        let status = root.join(".scribefs/status.json");
        let begun = Instant::now();
        while fs::read(&status).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the mount does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { daemon, root })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The daemon ends with its mount; if not, it is ended here.
        let umount =
            Command::new(env!("CARGO_BIN_EXE_scribefs")).arg("umount").arg(&self.root).status();
        if !umount.is_ok_and(|status| status.success()) {
            let _ = self.daemon.kill();
        }
        let _ = self.daemon.wait();
    }
}

fn download(bucket: &S3Bucket, key: &Key) -> Result<()> {
    let mut arrived = 0;
    bucket.stream_range(key, 0..BYTES, &mut |piece| {
        arrived += piece.len() as u64;
        ControlFlow::Continue(())
    })?;
    assert_eq!(arrived, BYTES);
    Ok(())
}

fn read(path: &Path) -> Result<()> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    let mut arrived = 0;
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => arrived += count as u64,
        }
    }
    assert_eq!(arrived, BYTES);
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}
