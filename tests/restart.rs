//! A supervised daemon that is killed and started again while programs write: what they have written is in the mount,
//! or they were told that it is not.

mod running;

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use running::{is_root, signal, skip};

/// The user that nobody logs in as.
const NOBODY: u32 = 65_534;

const PATIENCE: Duration = Duration::from_secs(120);

/// More in a row, and a supervisor gives up.
const KILLS: usize = 4;

/// Makes a folder in the inbox and copies a file into it, again and again, and notes what has gone well.
const WRITER: &str = r#"
n=0
until [ -e "$STOP" ] || [ ! -e "$FILE" ]; do
    n=$((n + 1))
    at="$MOUNT/inbox/$NAME-$n"
    mkdir -p "$at" 2> /dev/null && cp "$FILE" "$at/notes.txt" 2> /dev/null && echo "$NAME-$n"
done
"#;

/// A mount table of its own, in which every user may open `/dev/fuse`, as is usual; then another user.
const AS_USER: &str = r#"
set -e
mknod "$DIR/fuse" c 10 229
chmod 666 "$DIR/fuse"
mount --bind "$DIR/fuse" /dev/fuse
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups -- "$@"
"#;

/// A supervised daemon of some user, and what that user does.
struct World {
    dir: tempfile::TempDir,
    user: u32,
    supervisor: Child,
}

impl World {
    fn new(user: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["mount", "state", "home"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("file"), "what was said").unwrap();
        for name in ["", "mount", "state", "home", "file"] {
            chown(dir.path().join(name), Some(user), Some(user)).unwrap();
        }
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", AS_USER, "sh", env!("CARGO_BIN_EXE_scribefs")]);
        command.current_dir(dir.path()).env("HOME", dir.path().join("home"));
        command.env("DIR", dir.path()).env("USER_ID", user.to_string());
        command.env_remove("NOTIFY_SOCKET").args(arguments(dir.path()));
        let supervisor = command.stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let mut world = Self { dir, user, supervisor };
        world.wait_for("the mount to answer", |world| world.times_mounted() == 1);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn times_mounted(&self) -> usize {
        self.log().lines().filter(|line| line.contains("mounted at ")).count()
    }

    fn daemon(&self) -> Option<i32> {
        let id = self.supervisor.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    fn wait_for(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            let end = self.supervisor.try_wait().unwrap();
            assert!(end.is_none(), "the supervisor has ended ({end:?}): {}", self.log());
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn writer(&self, name: &str) -> Child {
        let mut command = self.command("bash");
        command.args(["-c", WRITER]).env("NAME", name).env("MOUNT", self.path("mount"));
        command.env("FILE", self.path("file")).env("STOP", self.path("stop"));
        command.stdout(fs::File::create(self.path(name)).unwrap()).spawn().unwrap()
    }

    /// A program of the user, who sees the mount.
    fn command(&self, program: &str) -> Command {
        self.command_beside(&self.supervisor, program)
    }

    /// The same, with the mount table of another program.
    fn command_beside(&self, other: &Child, program: &str) -> Command {
        let (other, user) = (other.id().to_string(), self.user.to_string());
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &other, "--", "setpriv", "--reuid", &user]);
        command.args(["--regid", &user, "--clear-groups", "--", program]);
        command.current_dir(self.dir.path());
        command
    }

    /// Kills supervisor and daemon; then somebody mounts again.
    fn mount_again(&mut self, writer: &Child) {
        self.kill();
        self.supervisor = self.next(writer).spawn().unwrap();
    }

    /// Kills supervisor and daemon.
    fn kill(&mut self) {
        let daemon = self.daemon().unwrap();
        self.supervisor.kill().unwrap();
        self.supervisor.wait().unwrap();
        signal(daemon, libc::SIGKILL);
        let begun = Instant::now();
        while fs::exists(format!("/proc/{daemon}/exe")).unwrap() {
            assert!(begun.elapsed() < PATIENCE, "the daemon does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next ones, with the mount table of another program.
    fn next(&self, other: &Child) -> Command {
        let log = fs::File::options().append(true).open(self.path("log")).unwrap();
        let mut command = self.command_beside(other, env!("CARGO_BIN_EXE_scribefs"));
        command
            .env("HOME", self.path("home"))
            .env_remove("NOTIFY_SOCKET")
            .args(arguments(self.dir.path()));
        command.stderr(log).stdout(Stdio::null());
        command
    }

    /// Whether the user sees the file in the mount, as it was written.
    fn has(&self, written: &str) -> bool {
        let mut command = self.command("cmp");
        command.arg(self.path("file"));
        command.arg(self.path("mount/inbox").join(written).join("notes.txt"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Its mount goes with the mount table.
        signal(i32::try_from(self.supervisor.id()).unwrap(), libc::SIGTERM);
        let _ = self.supervisor.wait();
    }
}

/// Absolute: who enters another mount table stands at its root.
fn arguments(dir: &Path) -> [OsString; 6] {
    let path = |name: &str| dir.join(name).into_os_string();
    let word = OsString::from;
    [
        word("mount"),
        path("mount"),
        word("--state"),
        path("state"),
        word("--foreground"),
        word("--supervise"),
    ]
}

fn obstacle(test: &str) -> bool {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let programs = ["unshare", "nsenter", "setpriv", "fusermount3"];
    let is_possible = fs::File::options().read(true).write(true).open("/dev/fuse").is_ok()
        && is_root()
        && programs.into_iter().all(is_there);
    if !is_possible {
        skip(test, "it takes root, /dev/fuse, unshare, nsenter, setpriv and fusermount3");
    }
    !is_possible
}

/// How the next daemon comes.
#[derive(PartialEq)]
enum By {
    Supervisor,
    Hand,
}

fn check_writers(user: u32, by: &By) {
    let mut world = World::new(user);
    let writers = ["a", "b", "c"].map(|name| (name, world.writer(name)));
    for kills in 1..=KILLS {
        let written = |world: &World| fs::metadata(world.path("a")).unwrap().len();
        let before = written(&world);
        world.wait_for("something to be written", |world| before < written(world));
        match by {
            By::Supervisor => signal(world.daemon().unwrap(), libc::SIGKILL),
            By::Hand => world.mount_again(&writers[0].1),
        }
        world.wait_for("the next daemon", |world| kills < world.times_mounted());
    }
    fs::write(world.path("stop"), "").unwrap();
    for (name, mut writer) in writers {
        writer.wait().unwrap();
        let written = fs::read_to_string(world.path(name)).unwrap();
        let lost: Vec<&str> = written.lines().filter(|written| !world.has(written)).collect();
        if *by == By::Hand {
            // Nobody held the folder below open, so something may get there in a moment. It is reported.
            let is_told = world.log().contains("written to the folder below the mount");
            let lies_below = |written: &str| world.path("mount/inbox").join(written).exists();
            assert!(lost.iter().all(|written| is_told && lies_below(written)), "{}", world.log());
            continue;
        }
        assert_eq!(lost, Vec::<&str>::new(), "of {}: {}", written.lines().count(), world.log());
    }
    signal(i32::try_from(world.supervisor.id()).unwrap(), libc::SIGTERM);
    world.supervisor.wait().unwrap();
    let left: Vec<_> = fs::read_dir(world.path("mount")).unwrap().collect();
    assert!(left.is_empty() || *by == By::Hand, "below the mount: {left:?}");
    let mode = fs::metadata(world.path("mount")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn what_root_writes_while_the_daemon_is_started_again_is_in_the_mount() {
    if !obstacle("what_root_writes_while_the_daemon_is_started_again_is_in_the_mount") {
        check_writers(0, &By::Supervisor);
    }
}

#[test]
fn what_a_user_writes_while_the_daemon_is_started_again_is_in_the_mount() {
    if !obstacle("what_a_user_writes_while_the_daemon_is_started_again_is_in_the_mount") {
        check_writers(NOBODY, &By::Supervisor);
    }
}

#[test]
fn what_a_user_writes_while_somebody_mounts_over_a_dead_mount_is_not_hidden_silently() {
    if !obstacle(
        "what_a_user_writes_while_somebody_mounts_over_a_dead_mount_is_not_hidden_silently",
    ) {
        check_writers(NOBODY, &By::Hand);
    }
}

#[test]
fn a_folder_that_a_killed_daemon_has_left_closed_is_as_it_was_after_the_next_start() {
    let test = "a_folder_that_a_killed_daemon_has_left_closed_is_as_it_was_after_the_next_start";
    if obstacle(test) {
        return;
    }
    let mut world = World::new(NOBODY);
    let mode =
        |world: &World| fs::metadata(world.path("mount")).unwrap().permissions().mode() & 0o7777;
    // Keeps the mount table, once it has entered it.
    let mut keeper = world.command("sh");
    keeper.args(["-c", "echo entered; cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut keeper = keeper.spawn().unwrap();
    let mut said = [0; 8];
    keeper.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    world.kill();
    // The dead mount is gone, and the new one not there yet: the supervisor takes that for an `umount`.
    let killed = world.next(&keeper).env("FAILPOINTS", "mount-dead-detached=return").status();
    assert!(!killed.unwrap().success(), "{}", world.log());
    assert_eq!(mode(&world), 0o311, "{}", world.log());
    world.supervisor = world.next(&keeper).spawn().unwrap();
    world.wait_for("the next daemon", |world| world.times_mounted() == 2);
    signal(i32::try_from(world.supervisor.id()).unwrap(), libc::SIGTERM);
    world.supervisor.wait().unwrap();
    assert_eq!(mode(&world), 0o755);
    assert_eq!(fs::read_dir(world.path("mount")).unwrap().count(), 0);
    let kept = fs::read_dir(world.path("state")).unwrap().map(|it| it.unwrap().file_name());
    let kept: Vec<_> =
        kept.filter(|name| name.to_string_lossy().starts_with("mountpoint-")).collect();
    assert!(kept.is_empty(), "{kept:?}");
    drop(keeper.stdin.take());
    keeper.wait().unwrap();
}
