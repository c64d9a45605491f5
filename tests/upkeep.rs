//! `fsck`, `gc`, `reindex` and `migrate` as people call them, on a state folder that has been through something.

#[path = "upkeep/damaged_index.rs"]
mod damaged_index;
#[cfg(feature = "s3")]
#[path = "upkeep/in_bucket.rs"]
mod in_bucket;
#[cfg(feature = "s3")]
mod servers;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use scribefs::index::Index;
use tempfile::TempDir;

/// A home with two recordings of one day, on local disk.
struct StorageTarget {
    dir: TempDir,
    /// More in the environment.
    variables: Vec<(&'static str, String)>,
}

impl StorageTarget {
    fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap(), variables: Vec::new() };
        let day = home.dir.path().join("old/c/2024/01/15");
        fs::create_dir_all(&day).unwrap();
        for name in ["a1", "a2"] {
            fs::write(day.join(format!("{name}.wav")), format!("{name}'s sound")).unwrap();
            fs::write(day.join(format!("{name}.txt")), "Anna: Good morning.\nBen: Yes.\n").unwrap();
        }
        home.succeeds(&["import", "old"]);
        home
    }

    /// Exit code, standard output and standard error, with the home's own path taken out.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scribefs"));
        command.args(arguments).current_dir(self.dir.path()).env("HOME", self.dir.path());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["AWS_", "S3_", "XDG_", "SCRIBEFS_"].iter().any(|begin| text.starts_with(begin)) {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().cloned());
        let output = command.output().unwrap();
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&self.dir.path().display().to_string(), "~")
        };
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join(".local/state/scribefs")
    }

    fn day(&self) -> PathBuf {
        self.state().join("uploads/c/2024/01/15")
    }

    /// As if everything had been published hours ago.
    fn grow_old(&self) {
        let long_ago = SystemTime::now() - Duration::from_hours(3);
        let mut folders = vec![self.state().join("uploads")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => File::open(path).unwrap().set_modified(long_ago).unwrap(),
                }
            }
        }
    }

    fn remove(&self, path: impl AsRef<Path>) {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_recording_that_has_lost_its_metadata_and_the_index_comes_back_and_is_not_collected() {
    let home = StorageTarget::new();
    home.remove(home.day().join("a1_metadata.json"));
    home.remove(home.state().join("index.redb"));
    home.grow_old();
    let (code, out, err) = home.run(&["reindex"]);
    assert_eq!((code, out.as_str()), (0, "2 recordings\n"), "{err}");
    assert!(err.contains("a1.json: its metadata is lost; filed again"), "{err}");
    home.grow_old();
    assert_eq!(home.succeeds(&["fsck", "--deep"]), "2 recordings, 11 objects: no problems\n");
    assert_eq!(home.succeeds(&["gc", "--yes"]), "");
    assert_eq!(fs::read(home.day().join("a1.wav")).unwrap(), b"a1's sound");
}

#[test]
fn an_original_of_which_nothing_else_is_left_is_named_and_kept() {
    let home = StorageTarget::new();
    for name in ["a1_metadata.json", "a1.json"] {
        home.remove(home.day().join(name));
    }
    home.remove(home.state().join("index.redb"));
    home.grow_old();
    let (code, out, err) = home.run(&["reindex"]);
    assert_eq!((code, out.as_str()), (1, "1 recording\n"), "{err}");
    assert!(err.contains("a1.wav: left out: "), "{err}");
    let (code, out, _) = home.run(&["fsck"]);
    assert_eq!(code, 1);
    assert!(out.contains("a1.wav: on local disk no recording names it"), "{out}");
    assert!(!out.contains("gc"), "{out}");
    let (code, _, err) = home.run(&["gc", "--yes"]);
    assert_eq!(code, 0);
    assert!(err.contains("no other copy"), "{err}");
    assert_eq!(fs::read(home.day().join("a1.wav")).unwrap(), b"a1's sound");
}

#[test]
fn what_there_is_to_do_is_said_in_plain_words() {
    let home = StorageTarget::new();
    assert_eq!(home.run(&["gc"]), (0, String::new(), "nothing to remove\n".to_owned()));
    assert_eq!(home.run(&["gc", "--yes"]), (0, String::new(), "nothing to remove\n".to_owned()));
    // As a publication that was cut off leaves it, published again under another name.
    let copy = home.day().join("cut-off.wav");
    fs::copy(home.day().join("a1.wav"), &copy).unwrap();
    xattr::set(&copy, "user.scribefs.object", b"1").unwrap();
    home.grow_old();
    let listed = "disk  c/2024/01/15/cut-off.wav\n";
    let (code, out, err) = home.run(&["gc"]);
    assert_eq!((code, out.as_str()), (0, listed));
    assert_eq!(err, "1 file would be removed; `scribefs gc --yes` removes them\n");
    assert!(copy.exists());
    let (_, out, err) = home.run(&["gc", "--yes"]);
    assert_eq!((out.as_str(), err.as_str()), (listed, "1 file removed\n"));
    assert!(!copy.exists());
    assert_eq!(home.succeeds(&["fsck", "--deep"]), "2 recordings, 11 objects: no problems\n");
}

#[test]
fn a_state_folder_that_is_in_use_or_not_there_is_told_with_what_to_do() {
    let home = StorageTarget::new();
    let index = Index::open(&home.state().join("index.redb")).unwrap();
    for command in [&["fsck"][..], &["gc"], &["reindex"], &["migrate", "--to", "local"]] {
        let (code, _, err) = home.run(command);
        assert_eq!(code, 1, "{command:?}");
        if command[0] != "migrate" {
            assert!(err.contains("the recordings are mounted"), "{command:?}: {err}");
            assert!(err.contains("`scribefs umount`"), "{command:?}: {err}");
        }
    }
    drop(index);
    for command in ["fsck", "gc"] {
        let (code, out, err) = home.run(&[command, "--state", "mistyped"]);
        assert_eq!((code, out.as_str()), (1, ""), "{command}");
        assert!(err.contains("there is no state folder ~/mistyped"), "{err}");
        assert!(!err.contains("os error"), "{err}");
        assert!(!home.dir.path().join("mistyped").exists());
    }
}

#[test]
fn a_recording_that_has_lost_its_words_and_its_metadata_gets_both_from_its_subtitles() {
    let home = StorageTarget::new();
    for name in ["a1.json", "a1_metadata.json"] {
        home.remove(home.day().join(name));
    }
    let (code, out, err) = home.run(&["fsck", "--repair"]);
    assert_eq!(code, 0, "{out}{err}");
    let json = fs::read_to_string(home.day().join("a1.json")).unwrap();
    assert!(json.contains("Good morning.") && json.contains("written again from the subtitles"));
    assert_eq!(home.succeeds(&["fsck", "--deep"]), "2 recordings, 11 objects: no problems\n");
    assert_eq!(home.succeeds(&["reindex"]), "2 recordings\n");
    assert_eq!(home.succeeds(&["fsck", "--deep"]), "2 recordings, 11 objects: no problems\n");
    // Without subtitles nobody knows what was said, but whoever has the recording.
    for name in ["a1.json", "a1_metadata.json", "a1.vtt"] {
        home.remove(home.day().join(name));
    }
    let (code, out, _) = home.run(&["fsck", "--repair"]);
    assert_eq!(code, 1);
    assert!(out.contains("drop the recording into the inbox once more"), "{out}");
}
