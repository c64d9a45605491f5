//! Workers in a stranger's hands: a program that tries what it must not, run inside each kind of worker once that has
//! confined itself. Every deed is refused; without confinement the same program does every one of them.

use std::fs::{self, File, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// The user that nobody logs in as.
const NOBODY: u32 = 65_534;

/// Deeds that succeed for any user where nothing forbids them, so that the test can fail.
const HARM: [&str; 16] = [
    "socket inet",
    "kill",
    "pidfd",
    "set limits",
    "priority",
    "fork",
    "read a file",
    "make a file",
    "chmod",
    "set times",
    "inherited descriptor",
    "System V memory",
    "shared anonymous memory",
    "memfd",
    "two gigabytes",
    "another program",
];

/// Deeds that only root succeeds with.
const HARM_AS_ROOT: [&str; 6] =
    ["kill everybody", "ptrace", "memory by file", "mount", "host name", "chroot"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Decoder,
    Engines,
    Converter,
}

/// The hostile program, its victim and what it is to get at.
struct Attack {
    dir: TempDir,
    victim: Child,
    secret: PathBuf,
    user: Option<u32>,
}

impl Attack {
    /// As the user of this test, or as another.
    fn new(user: Option<u32>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let secret = folder.join("secret");
        fs::write(&secret, "secret").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/confinement/hostile.c");
        for (name, flags) in
            [("ffmpeg", &[][..]), ("hostile.so", &["-DLIBRARY", "-shared", "-fPIC"])]
        {
            let out = dir.path().join(name);
            let compiled =
                Command::new("cc").arg("-O1").args(flags).arg("-o").arg(out).arg(&source).status();
            assert!(compiled.unwrap().success());
        }
        if let Some(user) = user {
            chown(&folder, Some(user), Some(user)).unwrap();
            chown(&secret, Some(user), Some(user)).unwrap();
        }
        let victim = as_user(user, Path::new("sleep")).arg("600").spawn().unwrap();
        Self { dir, victim, secret, user }
    }

    fn plan(&self, descriptor: i32) -> String {
        format!(
            "victim={} secret={} folder={} descriptor={descriptor} \n",
            self.victim.id(),
            self.secret.display(),
            self.secret.parent().unwrap().display(),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A descriptor that a careless parent leaves open in all that it starts.
    fn inherited(&self) -> File {
        let file = File::open(&self.secret).unwrap();
        // SAFETY: plain numbers, of an open descriptor.
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) }, 0);
        file
    }

    fn unconfined(&self) -> Vec<String> {
        let leaked = self.inherited();
        let plan = self.plan(leaked.as_raw_fd());
        let mut command = as_user(self.user, &self.path("ffmpeg"));
        deeds(&command.env("HOSTILE", plan).stdin(Stdio::null()).output().unwrap())
    }

    fn confined(&self, kind: Kind) -> Vec<String> {
        let leaked = self.inherited();
        let plan = self.plan(leaked.as_raw_fd());
        let mut command = as_user(self.user, Path::new(env!("CARGO_BIN_EXE_scribefs")));
        command.arg("worker").args(["--memory-mb", "512", "--file-bytes", "1000000"]);
        command.arg("--parent").arg(std::process::id().to_string());
        let (ours, theirs) = UnixStream::pair().unwrap();
        match kind {
            Kind::Converter => {
                // It has no environment, so its recording tells it what to do.
                let recording = self.path("recording");
                fs::write(&recording, plan).unwrap();
                command.arg("--convert").arg(self.path("ffmpeg"));
                command.stdin(File::open(&recording).unwrap());
            }
            Kind::Decoder | Kind::Engines => {
                command.env("HOSTILE", plan).env("LD_PRELOAD", self.path("hostile.so"));
                command.stdin(Stdio::from(OwnedFd::from(theirs)));
            }
        }
        if kind == Kind::Engines {
            let models = self.path("models");
            fs::create_dir_all(&models).unwrap();
            command.arg("--models").arg(&models);
        }
        let output = command.output().unwrap();
        drop(ours);
        deeds(&output)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        // It has died already where a deed went too far, which the test has told.
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// A command of that user, with the environment of nobody's secrets.
fn as_user(user: Option<u32>, program: &Path) -> Command {
    let Some(user) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user.to_string(), "--regid", &user.to_string(), "--clear-groups"]);
    command.arg("--").arg(program);
    command
}

fn deeds(output: &Output) -> Vec<String> {
    // A worker's standard output goes to its standard error.
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.lines().any(|line| line == "end"), "it was not run to its end: {text}");
    let is_deed = |line: &&str| !line.starts_with('{') && *line != "end";
    text.lines().filter(is_deed).map(str::to_owned).collect()
}

fn is_root() -> bool {
    // SAFETY: only reads a number.
    unsafe { libc::geteuid() == 0 }
}

/// Why this cannot be tried here, said aloud.
fn obstacle(test: &str, needs_root: bool) -> bool {
    let has_compiler = Command::new("cc").arg("--version").output().is_ok();
    let has_setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    let why = if !has_compiler {
        "there is no C compiler (`cc`)"
    } else if needs_root && !is_root() {
        "it takes root to be two users"
    } else if needs_root && !has_setpriv {
        "there is no `setpriv`"
    } else {
        return false;
    };
    eprintln!("skipped: {test}: {why}");
    true
}

fn check(user: Option<u32>) {
    let attack = Attack::new(user);
    let free = attack.unconfined();
    let as_root: &[&str] = if user.is_none() && is_root() { &HARM_AS_ROOT } else { &[] };
    for deed in HARM.iter().chain(as_root) {
        assert!(free.iter().any(|done| done == deed), "{deed} is no harm here: {free:?}");
    }
    for kind in [Kind::Decoder, Kind::Engines, Kind::Converter] {
        assert_eq!(attack.confined(kind), Vec::<String>::new(), "{kind:?}");
        assert_eq!(fs::read_to_string(&attack.secret).unwrap(), "secret", "{kind:?}");
    }
}

#[test]
fn a_worker_in_a_strangers_hands_gets_at_nothing() {
    if !obstacle("a_worker_in_a_strangers_hands_gets_at_nothing", false) {
        check(None);
    }
}

#[test]
fn a_users_worker_in_a_strangers_hands_gets_at_nothing() {
    if !obstacle("a_users_worker_in_a_strangers_hands_gets_at_nothing", true) {
        check(Some(NOBODY));
    }
}

#[test]
fn a_program_in_a_home_folder_opens_none_of_it_to_its_workers() {
    let test = "a_program_in_a_home_folder_opens_none_of_it_to_its_workers";
    if obstacle(test, false) {
        return;
    }
    let attack = Attack::new(None);
    // The program lies beside the secret.
    let program = attack.secret.with_file_name("scribefs");
    fs::copy(env!("CARGO_BIN_EXE_scribefs"), &program).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("native/lib");
    let output = Command::new(&program)
        .args(["worker", "--memory-mb", "512", "--models"])
        .arg(attack.dir.path().join("models"))
        .arg("--parent")
        .arg(std::process::id().to_string())
        .env("LD_LIBRARY_PATH", libraries)
        .env("HOSTILE", attack.plan(-1))
        .env("LD_PRELOAD", attack.path("hostile.so"))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .output()
        .unwrap();
    drop(ours);
    assert_eq!(deeds(&output), Vec::<String>::new());
}
