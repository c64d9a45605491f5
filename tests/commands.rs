//! What commands tell a running daemon, and what they say came of it. No model is installed, so that recordings wait.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::iter;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than anything here takes on a slow machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

/// A mount in the background, with one imported recording of two speakers.
struct World {
    dir: TempDir,
}

impl World {
    fn new(test: &str, options: &[&str]) -> Option<Self> {
        if File::options().read(true).write(true).open("/dev/fuse").is_err() {
            eprintln!("skipped: {test}: /dev/fuse cannot be opened");
            return None;
        }
        let world = Self { dir: tempfile::tempdir().unwrap() };
        let day = world.dir.path().join("old/standup/2024/01/15");
        fs::create_dir_all(&day).unwrap();
        fs::write(day.join("monday.wav"), "sound").unwrap();
        fs::write(day.join("monday.txt"), "Anna: Good morning.\nBen: Yes.\n").unwrap();
        assert!(world.run(&["import", "old"]).status.success());
        let mount = [&["mount", "mount", "--settle", "200ms"][..], options].concat();
        let mounted = world.run(&mount);
        assert!(mounted.status.success(), "{}", said(&mounted));
        Some(world)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scribefs"));
        command.args(arguments).current_dir(self.dir.path()).env("HOME", self.dir.path());
        for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "SCRIBEFS_MODELS"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Exit code and all that was said.
    fn ends(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        (output.status.code(), said(&output))
    }

    fn inbox(&self) -> PathBuf {
        self.dir.path().join("mount/inbox")
    }

    fn drop_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.inbox().join(name);
        fs::write(&path, text).unwrap();
        self.wait_for_state(&path, "queued");
        path
    }

    fn wait_for_state(&self, path: &Path, wanted: &str) {
        until(&format!("{} to be {wanted}", path.display()), || {
            state(path).as_deref() == Some(wanted)
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.run(&["umount", "mount"]);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn state(path: &Path) -> Option<String> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut value = [0u8; 64];
    // SAFETY: both names end in NUL, and `value` has room for as many bytes as are asked for.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"user.scribefs.state".as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    let length = usize::try_from(length).ok()?;
    Some(String::from_utf8_lossy(&value[..length]).into_owned())
}

/// The first line of standard error.
fn first_words(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    line
}

/// Starts it with a terminal for standard error, where it shows how far it is.
fn on_terminal(command: &mut Command) -> (Child, File) {
    let (mut ours, mut its) = (0, 0);
    let (name, settings) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: both numbers have room, and neither name, settings nor size are wanted.
    let opened =
        unsafe { libc::openpty(&raw mut ours, &raw mut its, name, settings, ptr::null_mut()) };
    assert_eq!(opened, 0);
    // SAFETY: both were just opened, and nobody else has them.
    let (ours, its) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(its)) };
    command.env("TERM", "xterm").stdout(Stdio::null()).stderr(its);
    let child = command.spawn().unwrap();
    // The command keeps its end of the terminal open, which would have no end then.
    command.stderr(Stdio::null());
    (child, ours.into())
}

/// What is shown next; nothing once the program has ended.
fn next_words(terminal: &mut File) -> String {
    let mut bytes = [0; 1024];
    // The end of a terminal is an error.
    let length = terminal.read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[test]
fn the_name_of_a_file_is_no_order_for_another() {
    let Some(world) = World::new("the_name_of_a_file_is_no_order_for_another", &[]) else { return };
    world.drop_file("x.wav", "one");
    let victim = world.drop_file("victim.wav", "two");
    let hostile = world.drop_file("x.wav\ncancel victim.wav", "three");
    let quoted = world.drop_file("{\"path\": \"victim.wav\"}.wav", "four");
    for path in [&hostile, &quoted] {
        let name = path.to_str().unwrap();
        assert_eq!(world.ends(&["cancel", name]).0, Some(0));
        assert_eq!(state(path).as_deref(), Some("cancelled"));
        assert_eq!(world.ends(&["retry", name]).0, Some(0));
        world.wait_for_state(path, "queued");
        assert_eq!(state(&victim).as_deref(), Some("queued"), "{name:?}");
    }
    // Who writes to `control` has a way to say any name, and blanks in one count.
    let spaced = world.drop_file(" victim.wav", "five");
    let control = world.dir.path().join("mount/.scribefs/control");
    fs::write(&control, "cancel  victim.wav\n").unwrap();
    assert_eq!(state(&spaced).as_deref(), Some("cancelled"));
    fs::write(&control, "cancel {\"path\": \"x.wav\\ncancel victim.wav\"}\n").unwrap();
    assert_eq!(state(&hostile).as_deref(), Some("cancelled"));
    assert_eq!(state(&victim).as_deref(), Some("queued"));
    fs::write(&control, "cancel inbox/victim.wav").unwrap();
    assert_eq!(state(&victim).as_deref(), Some("cancelled"));
}

#[test]
fn retry_and_cancel_say_what_happened() {
    let Some(world) = World::new("retry_and_cancel_say_what_happened", &[]) else { return };
    world.drop_file("a.wav", "one");
    let notes = world.inbox().join("notes.txt");
    fs::write(&notes, "x").unwrap();
    until("the notes to be known for what they are", || state(&notes).is_none());
    let a = "mount/inbox/a.wav";
    let (code, text) = world.ends(&["retry", a]);
    assert_eq!(
        (code, text.contains("nothing to try again, it is queued")),
        (Some(1), true),
        "{text}"
    );
    assert_eq!(world.ends(&["cancel", a]), (Some(0), format!("{a}: cancelled\n")));
    let (code, text) = world.ends(&["cancel", a]);
    assert_eq!((code, text.contains("it is cancelled")), (Some(1), true), "{text}");
    let (code, text) = world.ends(&["retry", "mount/inbox/notes.txt", a]);
    assert_eq!((code, text.contains("notes.txt is not a recording")), (Some(1), true), "{text}");
    // One that cannot be done keeps none of the others from it.
    world.wait_for_state(&world.inbox().join("a.wav"), "queued");
    assert_eq!(world.ends(&["retry", "mount/inbox/nothing.wav"]).0, Some(1));
}

#[test]
fn names_are_given_before_the_command_returns_or_it_says_why_not() {
    let test = "names_are_given_before_the_command_returns_or_it_says_why_not";
    let Some(world) = World::new(test, &[]) else { return };
    let day = "mount/conversations/standup/2024/01/15";
    let srt = format!("{day}/monday.srt");
    assert_eq!(world.ends(&["name", &srt, "S1=Carla"]), (Some(0), "S1 is Carla\n".to_owned()));
    let page = || fs::read_to_string(world.dir.path().join(&srt)).unwrap();
    assert!(page().contains("Carla"), "{}", page());
    assert_eq!(world.ends(&["name", &srt, "Speaker 2=Dora"]).0, Some(0));
    assert!(page().contains("Dora"), "{}", page());
    // Once more the same is no change of words, and done all the same.
    assert_eq!(world.ends(&["name", &srt, "Speaker 2=Dora"]).0, Some(0));
    let transcript = format!("{day}/standup_transcript.txt");
    for (file, wanted) in [
        (srt.as_str(), "has no speaker S9; its speakers are S1 and S2"),
        (transcript.as_str(), "does not belong to one recording"),
        (day, "does not belong to one recording"),
        ("mount/conversations/standup/2024/01/15/none.srt", "none.srt"),
    ] {
        let (code, text) = world.ends(&["name", file, "S9=Eva"]);
        assert_eq!((code, text.contains(wanted)), (Some(1), true), "{text}");
    }
    let control = world.dir.path().join("mount/.scribefs/control");
    let order = |path: &str, speaker: &str| {
        let line = format!("name {{\"path\": \"{path}\", \"names\": {{\"{speaker}\": \"x\"}}}}");
        fs::write(&control, line).map_err(|err| err.raw_os_error().unwrap())
    };
    let recording = "standup/2024/01/15/monday.wav";
    assert_eq!(order(recording, "S9"), Err(libc::EINVAL));
    assert_eq!(order("standup/2024/01/15/none.wav", "S1"), Err(libc::ENOENT));
    assert_eq!(order(recording, "S1"), Ok(()));
}

#[test]
fn wait_says_what_it_waits_for_and_follows_a_file_that_is_written_again() {
    let test = "wait_says_what_it_waits_for_and_follows_a_file_that_is_written_again";
    let Some(world) = World::new(test, &[]) else { return };
    let path = world.drop_file("a.wav", "one");
    let mut command = world.command(&["wait", "mount/inbox/a.wav"]);
    let mut waiting = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let words = first_words(&mut waiting);
    assert!(words.contains("waiting for the model `moonshine-tiny-en`"), "{words}");
    fs::write(&path, "another recording").unwrap();
    world.wait_for_state(&path, "queued");
    // Nobody tells us that it has heard of the first job's end: it has a second to make a mistake.
    for _ in 0..50 {
        assert!(waiting.try_wait().unwrap().is_none(), "it has given up");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(world.ends(&["cancel", "mount/inbox/a.wav"]).0, Some(0));
    assert_eq!(waiting.wait().unwrap().code(), Some(1));
}

#[test]
fn wait_ends_where_nothing_is_to_come() {
    let Some(world) = World::new("wait_ends_where_nothing_is_to_come", &[]) else { return };
    let wait =
        |name: &str| world.ends(&["wait", &format!("mount/inbox/{name}"), "--timeout", "60s"]);
    world.drop_file("cancelled.wav", "one");
    assert_eq!(world.ends(&["cancel", "mount/inbox/cancelled.wav"]).0, Some(0));
    let (code, text) = wait("cancelled.wav");
    assert_eq!((code, text.contains("was cancelled")), (Some(1), true), "{text}");
    let notes = world.inbox().join("notes.txt");
    fs::write(&notes, "x").unwrap();
    until("the notes to be known for what they are", || state(&notes).is_none());
    let (code, text) = wait("notes.txt");
    assert_eq!((code, text.contains("is not a recording")), (Some(1), true), "{text}");
    // Also when it ends, or goes, while it is waited for, before any work on it has begun.
    for how in ["cancelled", "removed"] {
        let path = world.inbox().join("later.wav");
        let held = File::create(&path).unwrap();
        let mut command = world.command(&["wait", "mount/inbox/later.wav", "--timeout", "60s"]);
        let (mut waiting, mut terminal) = on_terminal(&mut command);
        let mut shown = String::new();
        while !shown.contains('%') {
            let words = next_words(&mut terminal);
            assert!(!words.is_empty(), "it has given up: {shown}");
            shown += &words;
        }
        if how == "removed" {
            fs::remove_file(&path).unwrap();
            drop(held);
        } else {
            std::io::Write::write_all(&mut &held, b"four").unwrap();
            drop(held);
            assert_eq!(world.ends(&["cancel", "mount/inbox/later.wav"]).0, Some(0));
        }
        let words = iter::from_fn(|| Some(next_words(&mut terminal)).filter(|it| !it.is_empty()));
        let words: String = words.collect();
        assert_eq!(waiting.wait().unwrap().code(), Some(1), "{how}: {words}");
        assert!(words.contains(how), "{how}: {words}");
        let _ = fs::remove_file(&path);
    }
}

#[test]
fn wait_goes_on_to_the_other_files_when_one_is_broken() {
    let test = "wait_goes_on_to_the_other_files_when_one_is_broken";
    let Some(world) = World::new(test, &[]) else { return };
    for name in ["first.wav", "last.wav"] {
        world.drop_file(name, name);
        assert_eq!(world.ends(&["cancel", &format!("mount/inbox/{name}")]).0, Some(0));
    }
    world.drop_file("queued.wav", "one");
    let wait = |names: &[&str]| {
        let files = names.iter().map(|name| format!("mount/inbox/{name}")).collect::<Vec<_>>();
        let files = files.iter().map(String::as_str);
        let arguments = ["wait", "--timeout", "300ms"].into_iter().chain(files);
        world.ends(&arguments.collect::<Vec<_>>())
    };
    let (code, text) = wait(&["first.wav", "none.wav", "queued.wav", "last.wav"]);
    assert_eq!(code, Some(1), "{text}");
    for said in [
        "first.wav was cancelled",
        "none.wav is not in the inbox",
        "before mount/inbox/queued.wav was published",
        "last.wav was cancelled",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    // One that failed counts for more than one that only takes longer, wherever it stands.
    assert_eq!(wait(&["queued.wav", "last.wav"]).0, Some(1));
    assert_eq!(wait(&["queued.wav"]).0, Some(4));
}

#[test]
fn an_import_that_waits_goes_on_where_one_fails_and_fails_in_the_end() {
    let Some(world) = World::new("an_import_that_waits_goes_on", &[]) else { return };
    let day = world.dir.path().join("more/talks/2024/01/16");
    fs::create_dir_all(&day).unwrap();
    // The inbox leaves the first two as they are: their names say that somebody is still at work on them.
    for name in ["~$a.wav", "~$b.wav", "c.wav"] {
        fs::write(day.join(name), name).unwrap();
    }
    fs::create_dir_all(world.inbox().join("talks/2024-01-16")).unwrap();
    fs::write(world.inbox().join("talks/2024-01-16/c.wav"), "another").unwrap();
    let import = ["import", "more", "--wait"];
    let (code, text) = world.ends(&import);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("2 recordings dropped into the inbox"), "{text}");
    assert!(text.contains("c.wav: not imported: another file of that name"), "{text}");
    for name in ["~$a.wav", "~$b.wav"] {
        assert!(text.contains(&format!("{name} is not a recording")), "{text}");
    }
    assert!(!text.contains("not in the inbox"), "{text}");
    let names = fs::read_dir(world.inbox().join("talks/2024-01-16")).unwrap();
    let hidden = names.filter(|it| it.as_ref().unwrap().file_name().as_bytes().starts_with(b"."));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn nothing_is_imported_into_a_folder_where_nothing_is_mounted() {
    let test = "nothing_is_imported_into_a_folder_where_nothing_is_mounted";
    let Some(world) = World::new(test, &[]) else { return };
    let day = world.dir.path().join("more/talks/2024/01/16");
    fs::create_dir_all(&day).unwrap();
    fs::write(day.join("a.wav"), "sound").unwrap();
    assert_eq!(world.ends(&["umount", "mount"]).0, Some(0));
    let mountpoint = world.dir.path().join("mount");
    let is_bare = || fs::read_dir(&mountpoint).unwrap().next().is_none();
    let (code, text) = world.ends(&["import", "more", "--mount", "mount"]);
    assert!(code == Some(1) && text.contains("scribefs is not mounted at"), "{text}");
    assert!(is_bare());
    // As another command does that works on the recordings, where the last mount was and where another one is now.
    let index = world.dir.path().join(".local/state/scribefs/index.redb");
    let held = scribefs::index::Index::open(&index).unwrap();
    let import = |said: &str| {
        let (code, text) = world.ends(&["import", "more"]);
        assert!(code == Some(1) && text.contains(said), "{text}");
    };
    import("another command is working on them");
    assert!(is_bare());
    assert_eq!(world.ends(&["mount", "mount", "--state", "other"]).0, Some(0));
    import("another command is working on them");
    assert!(fs::read_dir(world.inbox()).unwrap().next().is_none());
    assert_eq!(world.ends(&["umount", "mount"]).0, Some(0));
    drop(held);
    // The mount that serves the state is found.
    assert_eq!(world.ends(&["mount", "mount"]).0, Some(0));
    let (code, text) = world.ends(&["import", "more"]);
    assert!(code == Some(0) && text.contains("1 recording dropped into the inbox"), "{text}");
    assert!(world.inbox().join("talks/2024-01-16/a.wav").exists());
}

#[test]
fn what_is_imported_into_the_inbox_has_the_bytes_rights_and_time_of_its_source() {
    let test = "what_is_imported_into_the_inbox_has_the_bytes_rights_and_time_of_its_source";
    let Some(world) = World::new(test, &[]) else { return };
    let day = world.dir.path().join("more/talks/2024/01/16");
    fs::create_dir_all(&day).unwrap();
    let noon = std::time::UNIX_EPOCH + Duration::from_secs(1_705_406_400);
    let modes = [0o600, 0o640, 0o644, 0o664];
    for mode in modes {
        let file = File::create(day.join(format!("{mode:o}.wav"))).unwrap();
        fs::write(day.join(format!("{mode:o}.wav")), format!("{mode:o}")).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(noon)).unwrap();
    }
    // Only root may give files away, and keeps the owner of others.
    let owner = |path: &Path| fs::metadata(path).map(|it| (it.uid(), it.gid())).unwrap();
    let _ = chown(day.join("664.wav"), Some(65_534), Some(65_534));
    let inbox = world.inbox().join("talks/2024-01-16");
    fs::create_dir_all(&inbox).unwrap();
    // As long as its source, and another one all the same.
    fs::write(inbox.join("600.wav"), "006").unwrap();
    // What a killed import leaves, what one that runs is at work on, and what a user calls nearly so.
    for name in [".import-aB3dE9", ".import-aB3dE8", ".import-notes"] {
        fs::write(inbox.join(name), "part").unwrap();
    }
    let busy = File::open(inbox.join(".import-aB3dE8")).unwrap();
    busy.lock().unwrap();
    let (code, text) = world.ends(&["import", "more"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("600.wav: not imported: another file of that name"), "{text}");
    assert!(text.contains("3 recordings dropped into the inbox"), "{text}");
    for mode in &modes[1..] {
        let found = fs::metadata(inbox.join(format!("{mode:o}.wav"))).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, *mode);
        assert_eq!(found.modified().unwrap(), noon);
    }
    assert_eq!(owner(&inbox.join("664.wav")), owner(&day.join("664.wav")));
    let left = |name: &str| inbox.join(name).exists();
    assert!(!left(".import-aB3dE9") && left(".import-aB3dE8") && left(".import-notes"));
    // Those that are there with every byte count as dropped.
    assert!(world.ends(&["import", "more"]).1.contains("3 recordings dropped into the inbox"));
}

#[test]
fn what_is_removed_for_good_is_gone_from_the_disk() {
    let Some(world) = World::new("what_is_removed_for_good_is_gone_from_the_disk", &[]) else {
        return;
    };
    let recording = "mount/conversations/standup/2024/01/15/monday.wav";
    let stored = world.dir.path().join(".local/state/scribefs/uploads/standup/2024/01/15");
    assert!(stored.join("monday.wav").exists());
    for (wrong, said) in [
        ("mount/inbox/none.wav", "is neither published nor in the trash"),
        (
            "mount/conversations/standup/2024",
            "Name a recording (the original, not one of its pages)",
        ),
        ("mount/conversations/standup/2024/01/15/monday.srt", "Name a recording (the original"),
        ("mount/conversations/other", "No such file"),
    ] {
        let (code, text) = world.ends(&["purge", wrong]);
        assert!(code == Some(1) && text.contains(said), "{text}");
    }
    assert_eq!(
        world.ends(&["trash", "--empty", "mount"]),
        (Some(0), "nothing to remove\n".to_owned())
    );
    fs::remove_file(world.dir.path().join(recording)).unwrap();
    assert!(stored.join("monday.wav").exists());
    let (code, text) = world.ends(&["trash", "--empty", "mount"]);
    assert_eq!((code, text.as_str()), (Some(0), "1 entry removed for good\n"));
    assert_eq!(world.ends(&["trash", "mount"]), (Some(0), String::new()));
    until("the recording to leave the disk", || !stored.join("monday.wav").exists());
}

#[test]
fn what_cannot_be_done_is_said_with_why() {
    let Some(world) = World::new("what_cannot_be_done_is_said_with_why", &[]) else { return };
    fs::remove_dir_all(world.dir.path().join("mount/conversations/standup")).unwrap();
    for (arguments, code, said) in [
        (&["retry-uploads", "mount"][..], 1, "uploads nothing to a bucket"),
        (&["retry-uploads", "old"], 1, "scribefs is not mounted at"),
        (&["status", "old"], 1, "scribefs is not mounted at"),
        (&["storage-info", "nowhere"], 1, "scribefs is not mounted at"),
        (&["trash", "old"], 1, "scribefs is not mounted at"),
        (&["trash", "--empty", "old"], 1, "scribefs is not mounted at"),
        (&["restore", "standup", "--mount", "old"], 1, "scribefs is not mounted at"),
        (&["umount", "old"], 1, "scribefs is not mounted there"),
        (&["restore", "standup", "--to", "a/b", "--mount", "mount"], 1, "be called `a/b`"),
        (&["restore", "standup", "--to", "", "--mount", "mount"], 1, "be called ``"),
        (&["restore", "standup", "--to", "..", "--mount", "mount"], 1, "be called `..`"),
        (&["restore", "other", "--mount", "mount"], 1, "nothing called `other`"),
        (&["wait", "--timeout", "soon", "mount/inbox/a.wav"], 2, "add a unit"),
        (&["models", "import", "nowhere"], 1, "nowhere"),
        (&["mount", "other", "-o", "trash_day=3"], 1, "did you mean `retention_trash_days`"),
    ] {
        let (ended, text) = world.ends(arguments);
        assert!(ended == Some(code) && text.contains(said), "{arguments:?}: {ended:?} {text}");
        assert!(!text.contains("scribefs mount --help` lists the settings"), "{text}");
    }
    let (code, text) = world.ends(&["restore", "standup", "--to", "weekly", "--mount", "mount"]);
    assert!(code == Some(0) && text.ends_with("/conversations/weekly\n"), "{text}");
}

#[test]
fn no_name_reaches_the_terminal_as_anything_but_text() {
    let test = "no_name_reaches_the_terminal_as_anything_but_text";
    let Some(world) = World::new(test, &[]) else { return };
    let hostile = "\u{1b}[31mred\u{202e}\u{9b}\nforged";
    world.drop_file(&format!("{hostile}.wav"), "one");
    let conversations = world.dir.path().join("mount/conversations");
    fs::rename(conversations.join("standup"), conversations.join(hostile)).unwrap();
    fs::remove_dir_all(conversations.join(hostile)).unwrap();
    let inbox_file = format!("mount/inbox/{hostile}.none.wav");
    let elsewhere = format!("{hostile}.wav");
    for arguments in [
        &["trash"][..],
        &["restore", hostile, "--to", ".."],
        &["restore", "none\u{1b}[31m"],
        &["status", "mount"],
        &["status", "mount", "--json"],
        &["wait", &inbox_file],
        &["retry", &inbox_file],
        &["name", &elsewhere, "S1=x"],
        &["transcribe", &elsewhere],
        &["umount", hostile],
        &["mount", "a\u{1b}[31m/b/c"],
    ] {
        let (_, text) = world.ends(arguments);
        let is_hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(is_hostile), "{arguments:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "{arguments:?}: {text:?}");
        assert!(!text.is_empty(), "{arguments:?}");
    }
    for name in ["events", "status.json", "errors"] {
        let path = world.dir.path().join("mount/.scribefs").join(name);
        let mut file = File::open(path).unwrap();
        let mut bytes = vec![0; 1 << 16];
        let count = file.read(&mut bytes).unwrap();
        let text = std::str::from_utf8(&bytes[..count]).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{name}: {text:?}");
    }
}

#[test]
fn a_command_means_the_mount_that_one_stands_in() {
    let Some(world) = World::new("a_command_means_the_mount_that_one_stands_in", &[]) else {
        return;
    };
    let second = world.run(&["mount", "second", "--state", "second-state"]);
    assert!(second.status.success(), "{}", said(&second));
    let of = |folder: &str| {
        let output = world.command(&["status"]).current_dir(world.dir.path().join(folder)).output();
        said(&output.unwrap())
    };
    assert!(of("mount/inbox").contains("mount: 1 recording in"), "{}", of("mount/inbox"));
    assert!(of("second").contains("second: 0 recordings"), "{}", of("second"));
    assert!(of(".").contains("you have several mounts"), "{}", of("."));
    let mut command = world.command(&["umount"]);
    assert!(command.current_dir(world.dir.path().join("second")).status().unwrap().success());
    assert!(of("mount/inbox").contains("1 recording in"));
}

#[test]
fn the_doctor_takes_a_mount_that_he_may_not_enter_for_alive() {
    let test = "the_doctor_takes_a_mount_that_he_may_not_enter_for_alive";
    // SAFETY: only reads a number.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: {test}: only root can ask as somebody else");
        return;
    }
    let Some(world) = World::new(test, &[]) else { return };
    let is_dead = |uid: u32| {
        // SAFETY: the child only opens a folder and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mount = world.dir.path().join("mount");
            // SAFETY: seteuid takes a number, and `_exit` ends the child.
            unsafe {
                libc::seteuid(uid);
                let liveness = scribefs::fs::liveness(&mount);
                libc::_exit(i32::from(liveness != scribefs::fs::Liveness::Alive));
            }
        }
        let mut status = 0;
        // SAFETY: `status` has room for one number.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        libc::WEXITSTATUS(status)
    };
    assert_eq!(is_dead(65_534), 0);
    assert_eq!(is_dead(0), 0);
    let (_, text) = world.ends(&["doctor"]);
    // Others may have left dead mounts on this machine.
    let mount = world.dir.path().join("mount");
    let mount = mount.display().to_string();
    let is_blamed = |line: &str| line.contains("no longer running") || line.contains("no answer");
    assert!(!text.lines().any(|line| is_blamed(line) && line.contains(&mount)), "{text}");
}

#[test]
fn the_inbox_has_the_mode_that_the_settings_give_it() {
    let test = "the_inbox_has_the_mode_that_the_settings_give_it";
    let options = ["-o", "inbox_mode=1777,umask=027,uid=65534,gid=65534"];
    let Some(world) = World::new(test, &options) else { return };
    let stat = |path: &str| fs::metadata(world.dir.path().join("mount").join(path)).unwrap();
    let mode = |path: &str| stat(path).permissions().mode() & 0o7777;
    assert_eq!(mode("inbox"), 0o1777);
    assert_eq!(mode("conversations/standup"), 0o750);
    assert_eq!(mode("conversations/standup/2024/01/15/monday.wav"), 0o440);
    assert_eq!(mode(".scribefs/status.json"), 0o440);
    let owner = std::os::unix::fs::MetadataExt::uid(&stat("conversations"));
    assert_eq!(owner, 65_534);
}

#[test]
fn mount_and_fstab_can_call_it() {
    let test = "mount_and_fstab_can_call_it";
    let Some(world) = World::new(test, &[]) else { return };
    let link = world.dir.path().join("mount.scribefs");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_scribefs"), &link).unwrap();
    let at = world.dir.path().join("helped");
    fs::create_dir(&at).unwrap();
    let state =
        format!("rw,nosuid,dev,suid,state={}", world.dir.path().join("helped-state").display());
    for program in [link.as_path(), Path::new(env!("CARGO_BIN_EXE_scribefs"))] {
        let mut command = Command::new(program);
        command.arg("talks").arg(&at).args(["-o", &state]).env("HOME", world.dir.path());
        let output = command.current_dir("/").output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert!(at.join("README.txt").exists());
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(table.contains(" fuse.scribefs talks "), "{table}");
        assert_eq!(world.ends(&["umount", "helped"]).0, Some(0));
    }
}
