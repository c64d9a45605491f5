//! A real daemon whose bucket has bad days: nothing is lost, nothing is published twice, no shell hangs, and in
//! the end everything is in the bucket without help.
#![cfg(feature = "s3")]

mod running;
mod servers;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scribefs::store::{BucketOptions, S3Bucket, Store};
use serde_json::Value;

use running::{Running, obstacle, skip};
use servers::Server;
use servers::proxy::{DaemonConfig, Fault, Proxy};

/// Nothing that needs no bucket may take so long, on a machine that does other things too. What waits for a
/// bucket that does not answer takes 20 s.
const AT_ONCE: Duration = Duration::from_secs(15);

/// A daemon, the proxy before its bucket, and the bucket as it is behind it.
struct World {
    running: Running,
    proxy: Proxy,
    options: BucketOptions,
    pieces: Vec<Vec<u8>>,
}

impl World {
    /// `None`, said aloud, where something that it takes is not here.
    fn start(test: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let sound = Path::new(env!("CARGO_MANIFEST_DIR")).join("native/recordings/two_cities.wav");
        let missing = || (!sound.is_file()).then(|| format!("{} is missing", sound.display()));
        if let Some(why) = obstacle().or_else(missing) {
            skip(test, &why);
            return None;
        }
        let moto = Server::moto(test)?;
        let options = moto.fresh_bucket();
        let proxy = Proxy::before(moto.address);
        let endpoint = proxy.through(&options).endpoint.unwrap();
        let own = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("S3_BUCKET_NAME", options.bucket.as_str()),
            ("S3_REGION", "us-east-1"),
            ("S3_ENDPOINT_URL", endpoint.as_str()),
        ];
        let variables = own.iter().chain(variables);
        let variables = variables.map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let running = Running::start_with(&[], variables);
        Some(Self { running, proxy, options, pieces: pieces(&fs::read(sound).unwrap(), 4) })
    }

    /// Drops a recording and waits until its transcript can be read.
    fn publish(&self, number: usize) -> Value {
        let dropped = self.drop_piece(number);
        self.running.published(&dropped)
    }

    fn drop_piece(&self, number: usize) -> PathBuf {
        let path = self.running.inbox().join(format!("talk-{number}.wav"));
        fs::write(&path, &self.pieces[number]).unwrap();
        path
    }

    fn audio(&self, number: usize) -> PathBuf {
        let name = format!("talk-{number}.wav");
        let found =
            self.running.recordings().into_iter().map(|(path, _)| path.with_file_name(&name));
        found.into_iter().find(|path| path.exists()).unwrap()
    }

    fn storage(&self) -> Value {
        let text = fs::read(self.running.root().join(".scribefs/storage.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn is_settled(&self) -> bool {
        let storage = self.storage();
        storage["placement"]["pending"] == 0 && storage["placement"]["paused"] == 0
    }

    /// What local disk can answer is answered at once, whatever the bucket does.
    fn answers_at_once(&self) {
        let began = Instant::now();
        for (path, _) in self.running.recordings() {
            fs::read(&path).unwrap();
            fs::metadata(path.with_extension("srt")).unwrap();
        }
        self.storage();
        assert!(began.elapsed() < AT_ONCE, "the mount took {:?}", began.elapsed());
    }

    /// Everything that is on local disk is in the bucket, byte for byte, and nothing is there twice.
    fn bucket_has_everything(&self, recordings: usize) {
        let bucket = S3Bucket::open(&self.options).unwrap();
        let local =
            scribefs::store::LocalStore::open(&self.running.dir.path().join("state/uploads"));
        let local = local.unwrap();
        let keys: BTreeSet<_> =
            local.list("").unwrap().into_iter().map(|found| found.key).collect();
        for key in &keys {
            let (here, there) =
                (local.get_range(key, 0..u64::MAX), bucket.get_range(key, 0..u64::MAX));
            assert!(here.unwrap() == there.unwrap(), "{key} is another in the bucket");
        }
        let there = bucket.list("").unwrap().into_iter().map(|found| found.key);
        let there: Vec<_> = there.filter(|key| !key.as_str().starts_with("_scribefs/")).collect();
        assert_eq!(there.iter().filter(|key| key.is_metadata()).count(), recordings, "{there:?}");
        let audio = there.iter().filter(|key| key.as_str().ends_with(".wav"));
        assert_eq!(audio.count(), recordings, "{there:?}");
    }
}

/// Wave files with four seconds each, one after the other.
fn pieces(sound: &[u8], count: usize) -> Vec<Vec<u8>> {
    let at = sound.windows(4).position(|it| it == b"data").unwrap() + 8;
    let rate = u32::from_le_bytes(sound[28..32].try_into().unwrap()) as usize;
    let length = 4 * rate;
    (0..count)
        .map(|number| {
            let samples = &sound[at + number * length..at + (number + 1) * length];
            let mut piece = Vec::from(*b"RIFF");
            piece.extend(u32::try_from(36 + length).unwrap().to_le_bytes());
            piece.extend(b"WAVEfmt \x10\0\0\0");
            piece.extend(&sound[20..36]);
            piece.extend(b"data");
            piece.extend(u32::try_from(length).unwrap().to_le_bytes());
            piece.extend(samples);
            piece
        })
        .collect()
}

/// Recordings are on their way while it is bad; then all is well, and nobody does anything.
fn survives(test: &str, bad: DaemonConfig) {
    let Some(world) = World::start(test, &[]) else { return };
    world.publish(0);
    world.proxy.plan(bad);
    for number in 1..3 {
        world.publish(number);
        world.answers_at_once();
    }
    world.running.wait_for("the fault to happen", || 0 < world.proxy.faults());
    world.answers_at_once();
    world.proxy.heal();
    world.running.wait_for("everything to be in the bucket", || world.is_settled());
    world.bucket_has_everything(3);
    assert_eq!(world.running.recordings().len(), 3);
}

#[test]
fn refused_connections_delay_and_lose_nothing() {
    survives("refused_connections_delay_and_lose_nothing", DaemonConfig::always(Fault::Refuse));
}

#[test]
fn a_black_hole_delays_and_loses_nothing() {
    survives("a_black_hole_delays_and_loses_nothing", DaemonConfig::always(Fault::BlackHole));
}

#[test]
fn one_answer_in_three_of_slow_down_loses_nothing() {
    let bad = DaemonConfig::always(Fault::Answer(503, "SlowDown")).one_in(3);
    survives("one_answer_in_three_of_slow_down_loses_nothing", bad);
}

#[test]
fn connections_that_break_in_mid_upload_lose_nothing() {
    let bad = DaemonConfig::always(Fault::CutUpload(1_000)).matching("PUT ").one_in(2);
    survives("connections_that_break_in_mid_upload_lose_nothing", bad);
}

#[test]
fn connections_that_hang_in_mid_upload_delay_and_lose_nothing() {
    let bad = DaemonConfig::always(Fault::StallUpload(1_000)).matching("PUT ");
    survives("connections_that_hang_in_mid_upload_delay_and_lose_nothing", bad);
}

#[test]
fn answers_that_are_lost_lose_nothing_and_double_nothing() {
    let bad = DaemonConfig::always(Fault::DropReply).one_in(2);
    survives("answers_that_are_lost_lose_nothing_and_double_nothing", bad);
}

#[test]
fn two_seconds_for_each_answer_only_take_longer() {
    let bad = DaemonConfig::always(Fault::Late(Duration::from_secs(2)));
    survives("two_seconds_for_each_answer_only_take_longer", bad);
}

#[test]
fn a_clock_that_is_wrong_delays_and_loses_nothing() {
    let bad = DaemonConfig::always(Fault::Answer(403, "RequestTimeTooSkewed"));
    survives("a_clock_that_is_wrong_delays_and_loses_nothing", bad);
}

/// What time cannot cure pauses, says so, and goes on when somebody has mended it. The bucket is asked every
/// five minutes; who does not want to wait says `scribefs retry-uploads`.
fn pauses_and_goes_on(test: &str, status: u16, code: &'static str) {
    let Some(world) = World::start(test, &[]) else { return };
    world.publish(0);
    world.running.wait_for("the first to be in the bucket", || world.is_settled());
    world.proxy.plan(DaemonConfig::always(Fault::Answer(status, code)));
    for number in 1..3 {
        world.publish(number);
    }
    world.running.wait_for("the pause to be told", || {
        !world.storage()["placement"]["paused_because"].is_null()
    });
    world.answers_at_once();
    let log = world.running.log();
    assert!(log.contains("ERROR"), "a refusal must be loud: {log}");
    world.proxy.heal();
    if std::env::var_os("SCRIBEFS_FULL").is_none() {
        fs::write(world.running.root().join(".scribefs/control"), "retry-uploads\n").unwrap();
    }
    world.running.wait_for_long("everything to be in the bucket", || world.is_settled());
    world.bucket_has_everything(3);
}

#[test]
fn a_refusal_pauses_loudly_and_heals() {
    pauses_and_goes_on("a_refusal_pauses_loudly_and_heals", 403, "AccessDenied");
}

#[test]
fn a_bucket_that_was_removed_and_restored_gets_everything() {
    let test = "a_bucket_that_was_removed_and_restored_gets_everything";
    pauses_and_goes_on(test, 404, "NoSuchBucket");
}

#[test]
fn a_bucket_that_is_away_at_the_start_does_not_stop_the_mount() {
    let test = "a_bucket_that_is_away_at_the_start_does_not_stop_the_mount";
    let Some(mut world) = World::start(test, &[]) else { return };
    world.publish(0);
    world.running.wait_for("the first to be in the bucket", || world.is_settled());
    assert_eq!(world.running.stop(), Some(0));
    // The index is lost too: what the bucket has can only come from there.
    let state = world.running.dir.path().join("state");
    fs::remove_file(state.join("index.redb")).unwrap();
    fs::remove_dir_all(state.join("uploads")).unwrap();
    world.proxy.plan(DaemonConfig::always(Fault::Refuse));
    world.running.mount();
    assert_eq!(world.running.recordings().len(), 0);
    world.publish(1);
    world.answers_at_once();
    world.proxy.heal();
    world
        .running
        .wait_for("the bucket's recordings to come back", || world.running.recordings().len() == 2);
    world.running.wait_for("everything to be in the bucket", || world.is_settled());
    assert_eq!(fs::read(world.audio(0)).unwrap(), world.pieces[0]);
    world.bucket_has_everything(2);
}

#[test]
fn what_is_only_in_the_bucket_is_read_whole_although_answers_are_cut() {
    let test = "what_is_only_in_the_bucket_is_read_whole_although_answers_are_cut";
    let no_copies = [("SCRIBEFS_RETENTION_CACHE_BYTES", "1KB"), ("SCRIBEFS_KEEP_FREE_MB", "1")];
    let Some(world) = World::start(test, &no_copies) else { return };
    for number in 0..4 {
        world.publish(number);
    }
    world.running.wait_for("copies to make room", || {
        world.is_settled() && world.storage()["local_copies"]["audio_bytes"] == 0
    });
    world.proxy.plan(DaemonConfig::always(Fault::CutDownload(10_000)).matching("GET ").one_in(2));
    for number in 0..4 {
        assert!(fs::read(world.audio(number)).unwrap() == world.pieces[number]);
    }
    assert!(0 < world.proxy.faults());
    world.proxy.heal();
}

#[test]
fn a_read_from_a_dead_bucket_ends_and_takes_no_other_along() {
    let test = "a_read_from_a_dead_bucket_ends_and_takes_no_other_along";
    let no_copies = [("SCRIBEFS_RETENTION_CACHE_BYTES", "1"), ("SCRIBEFS_KEEP_FREE_MB", "1")];
    let Some(world) = World::start(test, &no_copies) else { return };
    world.publish(0);
    world.running.wait_for("the copy to make room", || {
        world.is_settled() && world.storage()["local_copies"]["audio_bytes"] == 0
    });
    let audio = world.audio(0);
    world.proxy.plan(DaemonConfig::always(Fault::BlackHole));
    let began = Instant::now();
    let reading = std::thread::spawn(move || fs::read(audio));
    world.answers_at_once();
    let failed = reading.join().unwrap().unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO), "{failed}");
    assert_ne!(failed.kind(), ErrorKind::NotFound);
    // One deadline, and not one for each try.
    assert!(began.elapsed() < Duration::from_secs(35), "{:?}", began.elapsed());
    world.proxy.heal();
}

#[test]
fn a_worker_never_sees_the_keys_of_the_bucket() {
    let Some(world) = World::start("a_worker_never_sees_the_keys_of_the_bucket", &[]) else {
        return;
    };
    // Kept warm for the next recording.
    world.publish(0);
    let workers = world.running.engines();
    assert!(!workers.is_empty());
    for worker in workers {
        let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        assert!(!environment.contains("AWS_") && !environment.contains("S3_"), "{environment}");
    }
}

#[test]
fn ten_kills_leave_bucket_and_index_in_agreement() {
    let test = "ten_kills_leave_bucket_and_index_in_agreement";
    let Some(mut world) = World::start(test, &[]) else { return };
    let drops: Vec<PathBuf> = (0..4).map(|number| world.drop_piece(number)).collect();
    // A fixed seed: moments spread over the whole road, the same in every run.
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..10 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(random % 1_500));
        world.running.kill();
        world.running.mount();
    }
    for dropped in &drops {
        assert_eq!(world.running.outcome(dropped), None);
    }
    world.running.wait_for("everything to be in the bucket", || world.is_settled());
    world.bucket_has_everything(4);
    assert_eq!(world.running.recordings().len(), 4);
    assert_eq!(world.running.stop(), Some(0));
    let state = world.running.dir.path().join("state");
    let fsck = world.running.command().args(["fsck", "--deep", "--state"]).arg(state).output();
    let fsck = fsck.unwrap();
    let said =
        String::from_utf8_lossy(&fsck.stdout).into_owned() + &String::from_utf8_lossy(&fsck.stderr);
    assert!(fsck.status.success(), "{said}");
}

/// Files below the folder of what is published, and those of the index.
fn kept(world: &World) -> BTreeSet<PathBuf> {
    let uploads = world.running.dir.path().join("state/uploads");
    let mut found = BTreeSet::new();
    let mut folders = vec![uploads];
    while let Some(folder) = folders.pop() {
        // A folder goes with the last that was in it.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}

#[test]
fn a_read_only_mount_over_a_writers_state_is_refused() {
    let test = "a_read_only_mount_over_a_writers_state_is_refused";
    let Some(mut world) = World::start(test, &[]) else { return };
    world.proxy.plan(DaemonConfig::always(Fault::Refuse));
    for number in 0..2 {
        world.publish(number);
    }
    assert_eq!(world.running.stop(), Some(0));
    world.proxy.heal();
    let before = kept(&world);
    let state = world.running.dir.path().join("state");
    let mount = |flags: &[&str]| {
        let mut command = world.running.command();
        command.arg("mount").arg(world.running.root()).arg("--state").arg(&state).args(flags);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for flags in [&["--read-only"][..], &["--foreground", "-o", "ro"][..]] {
        let (is_mounted, said) = mount(flags);
        assert!(!is_mounted, "{said}");
        assert!(said.contains("--state DIR"), "{said}");
    }
    // Nor when the index is lost.
    fs::rename(state.join("index.redb"), state.join("aside")).unwrap();
    let (is_mounted, said) = mount(&["--read-only"]);
    assert!(!is_mounted && said.contains("--state DIR"), "{said}");
    fs::rename(state.join("aside"), state.join("index.redb")).unwrap();
    assert_eq!(kept(&world), before);
    world.running.mount();
    assert_eq!(world.running.recordings().len(), 2);
    world.running.wait_for("everything to be in the bucket", || world.is_settled());
    world.bucket_has_everything(2);
}

#[test]
fn a_follower_keeps_to_its_own_place_and_to_its_bucket() {
    let test = "a_follower_keeps_to_its_own_place_and_to_its_bucket";
    let Some(mut world) = World::start(test, &[]) else { return };
    world.publish(0);
    world.running.wait_for("it to be in the bucket", || world.is_settled());
    assert_eq!(world.running.stop(), Some(0));
    let before = kept(&world);
    let uploads = world.running.dir.path().join("state/uploads");
    // The settings of this machine name the writer's folder; the follower has a state folder of its own.
    let state = world.running.dir.path().join("reader");
    let variables = [("SCRIBEFS_STORE", uploads.to_str().unwrap())];
    let mount = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = world.running.command();
        command.envs(variables.iter().copied()).arg("mount").arg(world.running.root());
        command.arg("--state").arg(&state).args(flags);
        command.output().unwrap()
    };
    let mounted = mount(&variables, &["--read-only"]);
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    world.running.wait_for("the recording to be seen", || world.running.recordings().len() == 1);
    assert_eq!(fs::read(world.audio(0)).unwrap(), world.pieces[0]);
    let pages = fs::read(world.audio(0).with_extension("srt")).unwrap();
    assert!(!pages.is_empty());
    let umount = |world: &World| {
        let done =
            world.running.command().args(["umount", "--wait"]).arg(world.running.root()).status();
        assert!(done.unwrap().success());
    };
    umount(&world);
    assert_eq!(kept(&world), before);
    let followed = scribefs::store::LocalStore::open(&state.join("followed")).unwrap();
    assert_eq!(followed.list("").unwrap(), []);
    // The same bucket by another name is the same; another prefix is another place.
    let endpoint = world.proxy.through(&world.options).endpoint.unwrap();
    let renamed = endpoint.replace("127.0.0.1", "localhost");
    let mounted = mount(&[("S3_ENDPOINT_URL", renamed.as_str())], &["--read-only"]);
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    umount(&world);
    let refused = mount(&[("S3_PREFIX", "elsewhere/")], &["--read-only"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is not the bucket"), "{said}");
    // Nor is a follower's state a writer's.
    let refused = mount(&[], &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("follows a bucket"), "{said}");
}

#[test]
fn a_writers_bucket_may_get_another_address() {
    let test = "a_writers_bucket_may_get_another_address";
    let no_copies = [("SCRIBEFS_RETENTION_CACHE_BYTES", "1KB"), ("SCRIBEFS_KEEP_FREE_MB", "1")];
    let Some(mut world) = World::start(test, &no_copies) else { return };
    world.publish(0);
    world.running.wait_for("it to be in the bucket", || world.is_settled());
    let audio = |world: &World| {
        kept(world).iter().any(|path| path.extension().is_some_and(|it| it == "wav"))
    };
    world.running.wait_for("its copy to go", || !audio(&world));
    assert_eq!(world.running.stop(), Some(0));
    for (name, value) in &mut world.running.variables {
        if name == "S3_ENDPOINT_URL" {
            *value = value.replace("127.0.0.1", "localhost");
        }
    }
    let before = world.proxy.requests("PUT");
    world.running.mount();
    assert_eq!(fs::read(world.audio(0)).unwrap(), world.pieces[0]);
    assert!(world.is_settled());
    world.publish(1);
    world.running.wait_for("the second to be in the bucket", || world.is_settled());
    // The lease, its conditions, and one recording: the first one was not sent again.
    assert!(world.proxy.requests("PUT") - before < 20, "{}", world.proxy.requests("PUT"));
}
