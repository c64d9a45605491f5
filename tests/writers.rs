//! Programs of others write into the inbox, each in its own way: every one ends as exactly one recording with the
//! right bytes and times, or stays a plain file.
//!
//! A program that is not installed is skipped by name; `scripts/suites --install` gets all of them.

mod pieces;
mod ports;
mod running;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pieces::{piece, public_speech};
use ports::free_port;
use running::{Running, is_full, is_root, obstacle, skip};

/// What is to come of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// One recording with the bytes that are wanted.
    Recording,
    /// The same, with its modification time.
    WithItsTime,
    /// The same, to the two seconds that the archive keeps.
    WithRoughTime,
    /// One recording with the first of them: the transfer was cut off.
    Beginning,
    /// Nothing is taken; this file stays as it is wanted.
    Plain(&'static str),
}

use End::{Beginning, Plain, Recording, WithItsTime, WithRoughTime};

struct Writer {
    name: &'static str,
    needs: &'static [&'static str],
    end: End,
    /// In bash. `$SRC` is a WAV, `$DIR` a folder of the inbox, `$TMP` an empty folder elsewhere, `$URL` leads to
    /// `$SRC`, nobody listens on `$PORT`. What is wanted is `$SRC`, unless the script puts something else at `$KEEP`.
    script: &'static str,
}

const fn writer(
    name: &'static str,
    needs: &'static [&'static str],
    end: End,
    script: &'static str,
) -> Writer {
    Writer { name, needs, end, script }
}

const WRITERS: [Writer; 44] = [
    writer("cp", &[], Recording, r#"cp "$SRC" "$DIR/a.wav""#),
    writer("cp-a", &[], WithItsTime, r#"cp -a "$SRC" "$DIR/a.wav""#),
    writer("mv", &[], WithItsTime, r#"cp -a "$SRC" "$TMP/a.wav"; mv "$TMP/a.wav" "$DIR/""#),
    writer("install", &[], WithItsTime, r#"install -p -m 640 "$SRC" "$DIR/a.wav""#),
    writer("cat", &[], Recording, r#"cat "$SRC" > "$DIR/a.wav""#),
    writer("tee", &[], Recording, r#"tee "$DIR/a.wav" < "$SRC" > /dev/null"#),
    writer(
        "dd-with-pauses",
        &[],
        Recording,
        r#"for part in 0 1 2 3; do
            dd if="$SRC" of="$DIR/a.wav" bs=16000 skip=$part seek=$part count=1 conv=notrunc status=none
            sleep 0.4
        done"#,
    ),
    writer(
        "dd-one-handle",
        &[],
        Recording,
        r#"{ head -c 20000; sleep 2.5; cat; } < "$SRC" > "$DIR/a.wav""#,
    ),
    writer(
        "written-backwards",
        &["python3"],
        Recording,
        r#"python3 - "$SRC" "$DIR/a.wav" <<'END'
import sys
data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "wb") as out:
    for at in range(len(data) // 4096 * 4096, -1, -4096):
        out.seek(at)
        out.write(data[at:at + 4096])
END"#,
    ),
    writer(
        "growing-wav",
        &["python3"],
        Recording,
        r#"python3 - "$SRC" "$DIR/a.wav" <<'END'
import struct, sys, time
data = open(sys.argv[1], "rb").read()
header, sound = data[:44], data[44:]
with open(sys.argv[2], "wb") as out:
    out.write(header)
    for at in range(0, len(sound), 8000):
        out.seek(0, 2)
        out.write(sound[at:at + 8000])
        size = min(at + 8000, len(sound))
        out.seek(4); out.write(struct.pack("<I", 36 + size))
        out.seek(40); out.write(struct.pack("<I", size))
        out.flush()
        time.sleep(0.3)
END"#,
    ),
    writer(
        "scanner-that-reopens",
        &["python3"],
        Recording,
        r#"python3 - "$SRC" "$DIR/a.wav" <<'END'
import sys, time
data = open(sys.argv[1], "rb").read()
open(sys.argv[2], "wb").close()
for at in range(0, len(data), 12000):
    with open(sys.argv[2], "ab") as out:
        out.write(data[at:at + 12000])
    time.sleep(0.6)
END"#,
    ),
    writer(
        "update-in-place",
        &["python3"],
        Recording,
        r#"head -c 40 /dev/zero > "$DIR/a.wav"; python3 - "$SRC" "$DIR/a.wav" <<'END'
import sys
with open(sys.argv[2], "r+b") as out:
    out.write(open(sys.argv[1], "rb").read())
END"#,
    ),
    writer(
        "mapped",
        &["python3"],
        Recording,
        r#"python3 - "$SRC" "$DIR/a.wav" <<'END'
import mmap, sys
data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "w+b") as out:
    out.truncate(len(data))
    view = mmap.mmap(out.fileno(), len(data))
    view[:] = data
    view.close()
END"#,
    ),
    writer(
        "part-rename",
        &[],
        Recording,
        r#"cp "$SRC" "$DIR/a.wav.part"; mv "$DIR/a.wav.part" "$DIR/a.wav""#,
    ),
    writer(
        "crdownload-rename",
        &[],
        Recording,
        r#"cp "$SRC" "$DIR/a.wav.crdownload"; sleep 2; mv "$DIR/a.wav.crdownload" "$DIR/a.wav""#,
    ),
    writer(
        "dat-rename",
        &[],
        Recording,
        r#"cp "$SRC" "$DIR/.a.dat"; mv "$DIR/.a.dat" "$DIR/a.wav""#,
    ),
    writer("part-stays", &[], Plain("a.wav.part"), r#"cp "$SRC" "$DIR/a.wav.part""#),
    writer("hidden-stays", &[], Plain(".a.wav"), r#"cp "$SRC" "$DIR/.a.wav""#),
    writer(
        "moved-within",
        &[],
        Recording,
        r#"cp "$SRC" "$DIR/b.wav"; mv "$DIR/b.wav" "$DIR/a.wav""#,
    ),
    writer(
        "moved-with-its-folder",
        &[],
        Recording,
        r#"mkdir "$DIR/.new"; cp "$SRC" "$DIR/.new/a.wav"; mv "$DIR/.new" "$DIR/new""#,
    ),
    writer(
        "tar",
        &["tar"],
        WithItsTime,
        r#"cp -a "$SRC" "$TMP/a.wav"; tar -C "$TMP" -cf - a.wav | tar -C "$DIR" -xf -"#,
    ),
    writer(
        "unzip",
        &["zip", "unzip"],
        WithRoughTime,
        r#"cp -a "$SRC" "$TMP/a.wav"; cd "$TMP"; zip -qX a.zip a.wav; unzip -q a.zip -d "$DIR""#,
    ),
    writer(
        "7z",
        &["7z"],
        WithRoughTime,
        r#"cp -a "$SRC" "$TMP/a.wav"; cd "$TMP"; 7z a a.7z a.wav >/dev/null; 7z x "-o$DIR" a.7z >/dev/null"#,
    ),
    writer(
        "rsync-a",
        &["rsync"],
        WithItsTime,
        r#"cp -a "$SRC" "$TMP/a.wav"; rsync -a "$TMP/a.wav" "$DIR/""#,
    ),
    writer(
        "rsync-inplace",
        &["rsync"],
        WithItsTime,
        r#"cp -a "$SRC" "$TMP/a.wav"; rsync -t --inplace "$TMP/a.wav" "$DIR/""#,
    ),
    writer(
        "rsync-folder-with-notes",
        &["rsync"],
        Plain("notes.txt"),
        r#"echo "what was said" > "$TMP/notes.txt"; cp "$TMP/notes.txt" "$KEEP"; rsync -a "$TMP/" "$DIR/""#,
    ),
    writer(
        "rsync-partial-resumed",
        &["rsync"],
        WithItsTime,
        r#"cp -a "$SRC" "$TMP/a.wav"
        timeout 0.4 rsync -t --partial --bwlimit=60 "$TMP/a.wav" "$DIR/" || true
        rsync -t --partial "$TMP/a.wav" "$DIR/""#,
    ),
    writer("curl", &["curl"], Recording, r#"curl -s -o "$DIR/a.wav" "$URL""#),
    writer("curl-remote-time", &["curl"], WithRoughTime, r#"curl -s -R -o "$DIR/a.wav" "$URL""#),
    writer(
        "curl-killed",
        &["curl"],
        Beginning,
        r#"curl -s --limit-rate 4k -o "$DIR/a.wav" "$URL" &
        until [ -s "$DIR/a.wav" ]; do sleep 0.1; done
        kill -KILL $! || true; wait $! || true"#,
    ),
    writer("wget", &["wget"], WithRoughTime, r#"cd "$DIR"; wget -q "$URL""#),
    writer(
        "wget-c",
        &["wget"],
        Recording,
        r#"cd "$DIR"; name=$(basename "$URL"); head -c 9000 "$SRC" > "$name"; wget -q -c "$URL" || true"#,
    ),
    writer("ffmpeg-wav", &["ffmpeg"], Recording, r#"convert a.wav"#),
    writer("ffmpeg-flac", &["ffmpeg"], Recording, r#"convert a.flac"#),
    writer("ffmpeg-mp3", &["ffmpeg"], Recording, r#"convert a.mp3"#),
    writer("ffmpeg-m4a-faststart", &["ffmpeg"], Recording, r#"convert a.m4a -movflags +faststart"#),
    writer("ffmpeg-ogg", &["ffmpeg"], Recording, r#"convert a.ogg -c:a libvorbis"#),
    writer("ffmpeg-mkv", &["ffmpeg"], Recording, r#"convert a.mkv -c:a flac"#),
    writer(
        "sox",
        &["sox"],
        Recording,
        r#"sox -D "$SRC" "$DIR/a.flac"; sox -D "$SRC" "$KEEP.flac"; mv "$KEEP.flac" "$KEEP""#,
    ),
    writer(
        "gio-copy",
        &["gio"],
        WithItsTime,
        r#"cp -a "$SRC" "$TMP/a.wav"; gio copy -p "$TMP/a.wav" "$DIR/a.wav""#,
    ),
    writer(
        "gio-move",
        &["gio"],
        WithRoughTime,
        r#"cp -a "$SRC" "$TMP/a.wav"; gio move "$TMP/a.wav" "$DIR/a.wav""#,
    ),
    writer(
        "sed-i",
        &["sed"],
        Plain("notes.txt"),
        r#"echo "hello Anna" > "$DIR/notes.txt"; sed -i s/Anna/Ben/ "$DIR/notes.txt"; echo "hello Ben" > "$KEEP""#,
    ),
    writer(
        "vim",
        &["vim"],
        Plain("notes.txt"),
        r#"echo "hello Anna" > "$DIR/notes.txt"
        vim -es -u NONE -c "%s/Anna/Ben/" -c wq "$DIR/notes.txt" < /dev/null; echo "hello Ben" > "$KEEP""#,
    ),
    writer(
        "samba",
        &["smbd", "smbclient"],
        Recording,
        r#"samba_share; smbclient -N -p "$PORT" //127.0.0.1/inbox -c "put $SRC a.wav" >/dev/null; kill "$SMBD""#,
    ),
];

/// What scripts may use. `convert` makes the same file twice, once where it can be compared.
const PRELUDE: &str = r#"
set -e
convert() {
    name=$1; shift
    ffmpeg -v error -nostdin -i "$SRC" "$@" -fflags +bitexact -flags:a +bitexact "$DIR/$name"
    ffmpeg -v error -nostdin -i "$SRC" "$@" -fflags +bitexact -flags:a +bitexact "$TMP/$name"
    mv "$TMP/$name" "$KEEP"
}
samba_share() {
    mkdir -p "$TMP/samba"
    cat > "$TMP/smb.conf" <<END
[global]
map to guest = bad user
guest account = $(id -un)
server role = standalone
load printers = no
lock directory = $TMP/samba
state directory = $TMP/samba
cache directory = $TMP/samba
private dir = $TMP/samba
pid directory = $TMP/samba
ncalrpc dir = $TMP/samba/ncalrpc
log file = $TMP/samba/log
bind interfaces only = yes
interfaces = 127.0.0.1
smb ports = $PORT
[inbox]
path = $DIR
guest ok = yes
read only = no
END
    # In a process group that it makes itself, since it ends all of it.
    smbd -F -s "$TMP/smb.conf" >/dev/null 2>&1 &
    SMBD=$!
    until smbclient -N -p "$PORT" //127.0.0.1/inbox -c ls >/dev/null 2>&1; do
        kill -0 "$SMBD"
        sleep 0.1
    done
}
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Root,
    /// Not the one who has mounted.
    Other,
}

#[test]
fn every_program_leaves_one_recording_or_a_plain_file() {
    let test = "every_program_leaves_one_recording_or_a_plain_file";
    check(test, Role::Root);
}

#[test]
fn every_program_of_another_user_leaves_one_recording_or_a_plain_file() {
    let test = "every_program_of_another_user_leaves_one_recording_or_a_plain_file";
    if !is_full() {
        return skip(test, "only with `scripts/test --full`");
    }
    if !is_root() || !is_installed("setpriv") {
        return skip(test, "it takes root, and setpriv, to become another user");
    }
    check(test, Role::Other);
}

fn check(test: &str, role: Role) {
    let Some(speech) = public_speech() else {
        return skip(test, "native/recordings is not there; scripts/setup brings it");
    };
    if let Some(why) = obstacle() {
        return skip(test, &why);
    }
    let flags = match role {
        Role::Root => vec!["--settle", "1500ms"],
        Role::Other => vec!["--settle", "1500ms", "-o", "allow_other"],
    };
    let running = Running::start(&flags);
    let work = tempfile::tempdir().unwrap();
    open_to_all(work.path());
    open_to_all(running.dir.path());
    open_to_all(&running.inbox());
    let server = Server::start(work.path());
    let mut faults = Vec::new();
    let mut runs = Vec::new();
    for (number, writer) in WRITERS.iter().enumerate() {
        let missing: Vec<_> = writer.needs.iter().filter(|it| !is_installed(it)).collect();
        if !missing.is_empty() || (writer.name == "samba" && role == Role::Other) {
            skip(&format!("{test}: {}", writer.name), &format!("needs {missing:?}, and root"));
            continue;
        }
        let number = number + if role == Role::Root { 0 } else { 100 };
        let run = Run::new(&running, work.path(), writer, &piece(&speech, number + 1));
        let output = run.execute(role, &server);
        if !output.status.success() {
            faults.push(format!("{}: {}", writer.name, String::from_utf8_lossy(&output.stderr)));
        }
        runs.push(run);
    }
    for run in &runs {
        if let Some(fault) = run.fault(&running) {
            faults.push(format!("{}: {fault}", run.writer.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    eprintln!("{} of {} writers, {role:?}", runs.len(), WRITERS.len());
}

/// One script on its own source and in its own folder of the inbox.
struct Run<'a> {
    writer: &'a Writer,
    source: PathBuf,
    /// What the script says that is wanted; the source where it says nothing.
    kept: PathBuf,
    scratch: PathBuf,
    folder: PathBuf,
}

impl<'a> Run<'a> {
    fn new(running: &Running, work: &Path, writer: &'a Writer, bytes: &[u8]) -> Self {
        let own = work.join(writer.name);
        let scratch = own.join("tmp");
        fs::create_dir_all(&scratch).unwrap();
        let source = own.join(format!("{}.wav", writer.name));
        fs::write(&source, bytes).unwrap();
        // Even, so that an archive that counts in steps of two seconds can keep it.
        let then = std::time::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 0);
        fs::File::options().write(true).open(&source).unwrap().set_modified(then).unwrap();
        let folder = running.inbox().join(writer.name);
        fs::create_dir(&folder).unwrap();
        for path in [&own, &scratch, &folder] {
            open_to_all(path);
        }
        Self { writer, source, kept: own.join("kept"), scratch, folder }
    }

    fn execute(&self, role: Role, server: &Server) -> Output {
        let script = format!("{PRELUDE}{}", self.writer.script);
        let mut command = match role {
            Role::Root => Command::new("bash"),
            Role::Other => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "bash"]);
                command
            }
        };
        let below = format!("{0}/{0}.wav", self.writer.name);
        command.args(["-c", &script]).current_dir(&self.scratch);
        command.env("SRC", &self.source).env("KEEP", &self.kept);
        command.env("DIR", &self.folder).env("TMP", &self.scratch).env("HOME", &self.scratch);
        command.env("PORT", free_port().to_string());
        command.env("TZ", "UTC").env("URL", format!("http://127.0.0.1:{}/{below}", server.port));
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What is wrong with how it ended.
    fn fault(&self, running: &Running) -> Option<String> {
        let wanted = if self.kept.exists() { &self.kept } else { &self.source };
        let wanted_bytes = fs::read(wanted).unwrap();
        if let Plain(name) = self.writer.end {
            let left = fs::read(self.folder.join(name));
            let is_right = left.as_ref().is_ok_and(|left| *left == wanted_bytes);
            let taken = self.published(running);
            return (!is_right || !taken.is_empty())
                .then(|| format!("{name} is not what it was ({left:?}), or taken: {taken:?}"));
        }
        running.wait_for(&format!("{} to be taken", self.writer.name), || self.is_worked_off());
        // Listings that the kernel keeps may be a moment behind.
        running.wait_for(&format!("{} to be seen", self.writer.name), || {
            !self.published(running).is_empty()
        });
        let published = self.published(running);
        let [audio] = published.as_slice() else {
            return Some(format!("{} recordings: {published:?}", published.len()));
        };
        let bytes = fs::read(audio).unwrap();
        let is_right = match self.writer.end {
            Beginning => !bytes.is_empty() && wanted_bytes.starts_with(&bytes),
            _ => bytes == wanted_bytes,
        };
        if !is_right {
            return Some(format!("{} bytes, not the {} wanted", bytes.len(), wanted_bytes.len()));
        }
        let (is, wanted) = (fs::metadata(audio).unwrap(), fs::metadata(wanted).unwrap());
        let off = (is.mtime() - wanted.mtime()).abs();
        let most = match self.writer.end {
            WithItsTime => 0,
            WithRoughTime => 2,
            _ => return None,
        };
        (most < off).then(|| format!("its time is {off} s off"))
    }

    /// Whether no recording is left in its folder; an error note is a fault of its own.
    fn is_worked_off(&self) -> bool {
        let mut left = BTreeSet::new();
        collect(&self.folder, &mut |path| {
            left.insert(path.to_owned());
        });
        assert!(
            !left.iter().any(|path| path.to_string_lossy().ends_with(".error.txt")),
            "{left:?}"
        );
        left.is_empty()
    }

    fn published(&self, running: &Running) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&running.root().join("conversations"), &mut |path| {
            let is_of_us = path.components().any(|it| it.as_os_str() == self.writer.name);
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            let is_audio =
                ["wav", "flac", "mp3", "m4a", "ogg", "mkv"].contains(&extension.as_str());
            if is_of_us && is_audio {
                found.push(path.to_owned());
            }
        });
        found
    }
}

/// A plain web server for what is fetched.
struct Server {
    process: std::process::Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let free = free_port();
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(folder);
        command.arg(free.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", free)).is_err() {
            assert!(begun.elapsed().as_secs() < 60, "the web server does not answer");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Self { process, port: free }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn collect(folder: &Path, found: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => collect(&path, found),
            false => found(&path),
        }
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}
