//! What people type, and what they are told. Help and messages are snapshots, read line by line in review.

mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use running::{obstacle, skip};
use tempfile::TempDir;

/// A command in a home of its own: no settings, no models, no mounts of anybody else.
struct StorageTarget {
    dir: TempDir,
}

impl StorageTarget {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scribefs"));
        command.args(arguments).current_dir(self.dir.path());
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "S3_BUCKET_NAME",
            "XDG_CONFIG_HOME",
            "XDG_STATE_HOME",
            "XDG_DATA_HOME",
            "SCRIBEFS_CONFIG",
            "SCRIBEFS_MODELS",
            "SCRIBEFS_STATE",
        ] {
            command.env_remove(name);
        }
        command.env("HOME", self.dir.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Exit code and standard error, with the home's own path taken out.
    fn complaint(&self, arguments: &[&str]) -> String {
        self.said(self.run(arguments))
    }

    fn said(&self, output: Output) -> String {
        let text = String::from_utf8(output.stderr).unwrap();
        let text = text.replace(&self.dir.path().display().to_string(), "~");
        format!("exit code {}\n{text}", output.status.code().unwrap())
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn help(arguments: &[&str]) -> String {
    let output = StorageTarget::new().run(arguments);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_says_what_there_is_with_examples() {
    insta::assert_snapshot!("help", help(&["--help"]));
    insta::assert_snapshot!("help_mount", help(&["mount", "--help"]));
    insta::assert_snapshot!("help_wait", help(&["wait", "--help"]));
}

#[test]
fn version_says_what_a_bug_report_needs() {
    let output = Command::new(env!("CARGO_BIN_EXE_scribefs")).arg("version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("scribefs {}", env!("CARGO_PKG_VERSION"))), "{text}");
    for feature in ["sherpa", "whisper", "s3"] {
        assert!(text.contains(&format!("+{feature}")) || text.contains(&format!("-{feature}")));
    }
    assert!(text.contains(std::env::consts::ARCH), "{text}");
}

#[test]
fn every_subcommand_has_help_and_the_worker_is_nobodys_business() {
    let help_text = help(&["--help"]);
    assert!(!help_text.contains("worker"));
    for command in [
        "mount",
        "umount",
        "status",
        "wait",
        "retry",
        "cancel",
        "name",
        "transcribe",
        "models",
        "storage-info",
        "retry-uploads",
        "trash",
        "restore",
        "warm",
        "url",
        "import",
        "migrate",
        "fsck",
        "gc",
        "reindex",
        "doctor",
        "version",
    ] {
        assert!(help_text.contains(command), "{command}");
        assert!(help(&[command, "--help"]).contains("Usage:"), "{command}");
    }
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let home = StorageTarget::new();
    home.write(".config/scribefs/scribefs.toml", "setle = '5s'\n");
    insta::assert_snapshot!("unknown_setting", home.complaint(&["mount", "m"]));
    home.write(".config/scribefs/scribefs.toml", "settle = 5\n");
    insta::assert_snapshot!("setting_without_unit", home.complaint(&["mount", "m"]));
    home.write(".config/scribefs/scribefs.toml", "");
    insta::assert_snapshot!("unknown_option", home.complaint(&["mount", "m", "-o", "fast"]));
    insta::assert_snapshot!("missing_folder", home.complaint(&["mount", "a/b/c"]));
    insta::assert_snapshot!("no_such_recording", home.complaint(&["transcribe", "nothing.wav"]));
    insta::assert_snapshot!("outside_of_mounts", home.complaint(&["wait", "nothing.wav"]));
    insta::assert_snapshot!("bad_name", home.complaint(&["name", "x.json", "Anna"]));
    insta::assert_snapshot!("unknown_model", home.complaint(&["models", "pull", "whisper-huge"]));
    insta::assert_snapshot!("not_a_mount", home.complaint(&["umount", "."]));
    insta::assert_snapshot!("no_bucket", home.complaint(&["migrate", "--to", "s3"]));
    let both = ["migrate", "--to", "local", "--store", "s3://talks"];
    insta::assert_snapshot!("moving_against_the_settings", home.complaint(&both));
    home.write("old/readme.txt", "not here");
    insta::assert_snapshot!("nothing_to_import", home.complaint(&["import", "old"]));
    let mut command = home.command(&["reindex", "--store", "s3://talks"]);
    command.env("AWS_ACCESS_KEY_ID", "AKIA1");
    insta::assert_snapshot!("half_a_key", home.said(command.output().unwrap()));
}

#[test]
fn an_old_tree_is_imported_checked_and_cleared_up_without_a_mount() {
    let home = StorageTarget::new();
    home.write("old/standup/2024/01/15/monday.wav", "sound");
    home.write("old/standup/2024/01/15/monday.txt", "Anna: Good morning.\nBen: Yes.\n");
    home.write("old/standup/2024/01/15/other.wav", "more sound");
    let said = |arguments: &[&str]| {
        let output = home.run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    };
    let imported = "1 recording published with transcript, 0 already known\n";
    assert_eq!(said(&["import", "old"]), (0, imported.to_owned()));
    assert_eq!(said(&["fsck", "--deep"]), (0, "1 recording, 6 objects: no problems\n".to_owned()));
    let page = "state/scribefs/uploads/standup/2024/01/15/monday.srt";
    fs::remove_file(home.dir.path().join(".local").join(page)).unwrap();
    let (code, text) = said(&["fsck"]);
    assert_eq!(code, 1);
    assert!(text.starts_with("standup/2024/01/15/monday.srt: missing on local disk; "), "{text}");
    let (code, text) = said(&["fsck", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["findings"][0]["fault"]), (1, &"missing".into()));
    assert_eq!(said(&["gc"]), (0, String::new()));
}

#[test]
fn an_import_names_what_it_did_not_take_and_goes_on() {
    let home = StorageTarget::new();
    home.write("old/standup/2024/01/15/monday.wav", "sound");
    home.write("old/standup/2024/01/15/monday.txt", "Anna: Good morning.\n");
    home.write("old/loose.wav", "sound that lies in no day");
    home.write("old/a/2024/01/15/large.wav", "more sound");
    // A transcript that is none: it takes no room, and nobody has memory for it.
    let large = fs::File::create(home.dir.path().join("old/a/2024/01/15/large.txt")).unwrap();
    large.set_len(1 << 40).unwrap();
    let output = home.run(&["import", "old"]);
    let (out, err) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(out, "1 recording published with transcript, 0 already known\n");
    assert_eq!(
        err,
        "loose.wav: not imported: not in a folder <conversation>/<yyyy>/<mm>/<dd>/\n\
         a/2024/01/15/large.txt: not imported: cannot be read: it is larger than 16384 KiB\n\
         2 files not imported\n"
    );
}

#[test]
fn settings_come_from_the_environment_and_from_a_dot_env_too() {
    let home = StorageTarget::new();
    let mut command = home.command(&["reindex"]);
    command.env("SCRIBEFS_SETTLE", "soon");
    insta::assert_snapshot!("bad_variable", home.said(command.output().unwrap()));
    home.write(".env", "SCRIBEFS_STATE=from-dot-env\n");
    let output = home.run(&["reindex"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0 recordings\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("settings from"));
    assert!(home.dir.path().join("from-dot-env/index.redb").exists());
}

#[test]
fn a_dot_env_that_others_may_write_counts_only_when_it_is_named() {
    let home = StorageTarget::new();
    home.write(".env", "SCRIBEFS_STATE=from-dot-env\n");
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(home.dir.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (folder, file) in [(0o700, 0o666), (0o700, 0o620), (0o777, 0o600), (0o1777, 0o600)] {
        mode(".env", file);
        mode(".", folder);
        let output = home.run(&["reindex"]);
        mode(".", 0o700);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(".env is ignored") && said.contains("--env-file"), "{said}");
        assert!(!home.dir.path().join("from-dot-env").exists(), "{folder:o} {file:o}");
    }
    // Only root can give a file away to try this.
    mode(".env", 0o600);
    let path = home.dir.path().join(".env");
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
        let said = String::from_utf8(home.run(&["reindex"]).stderr).unwrap();
        assert!(said.contains("belongs to somebody else"), "{said}");
        assert!(!home.dir.path().join("from-dot-env").exists());
    }
    assert!(home.run(&["reindex", "--env-file", ".env"]).status.success());
    assert!(home.dir.path().join("from-dot-env/index.redb").exists());
}

#[test]
fn settings_are_read_from_small_regular_files_only() {
    let home = StorageTarget::new();
    let fails = |arguments: &[&str], why: &str| {
        let output = home.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    };
    // What nobody writes to would be waited for.
    let fifo = home.dir.path().join(".env");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let output = home.run(&["reindex", "--state", "state"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains(".env is ignored: it is not a"), "{said}");
    fails(&["reindex", "--state", "state", "--env-file", ".env"], "not a regular file");
    fails(&["reindex", "--state", "state", "--config", ".env"], "not a regular file");
    fs::remove_file(&fifo).unwrap();
    let large = fs::File::create(home.dir.path().join(".env")).unwrap();
    large.set_len(50 << 20).unwrap();
    fails(&["reindex", "--state", "state"], "larger than 64 KiB");
    fs::rename(home.dir.path().join(".env"), home.dir.path().join("large")).unwrap();
    fails(&["reindex", "--state", "state", "--config", "large"], "larger than 64 KiB");
}

#[test]
fn no_secret_of_a_settings_file_is_ever_printed() {
    let home = StorageTarget::new();
    let said = |arguments: &[&str]| {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    for line in [
        "AWS_SECRET_ACCESS_KEY=\"sEcReT",
        "AWS_SECRET_ACCESS_KEY=sEcReT foo",
        "AWS_SECRET_ACCESS_KEY sEcReT",
        "S3_ENDPOINT_URL=http://KEY:sEcReT@host\nS3_BUCKET_NAME=b",
        "S3_BUCKET_NAME=s3://KEY:sEcReT@b",
    ] {
        home.write(".env", &format!("# keys\n{line}\n"));
        let said = said(&["reindex"]);
        assert!(!said.contains("sEcReT") && said.contains(".env"), "{said}");
    }
    fs::remove_file(home.dir.path().join(".env")).unwrap();
    for text in ["secret = \"sEcReT", "sEcReT", "[s3]\nendpoint = 'sEcReT@h'\nbucket = 'b'"] {
        home.write(".config/scribefs/scribefs.toml", text);
        let said = said(&["reindex"]);
        assert!(!said.contains("sEcReT") && said.contains("scribefs.toml"), "{said}");
    }
}

#[test]
fn models_are_listed_as_a_table_and_as_json() {
    let home = StorageTarget::new();
    let output = home.run(&["models", "list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("moonshine-tiny-en") && text.contains("whisper-large-v3"), "{text}");
    let output = home.run(&["models", "list", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["installed"].as_array().unwrap().len(), 0);
    assert!(10 < json["available"].as_array().unwrap().len());
}

#[test]
fn the_doctor_names_what_is_missing_and_how_to_get_it() {
    let home = StorageTarget::new();
    let output = home.run(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("FAIL  recognizer"), "{text}");
    assert!(text.contains("`scribefs models pull moonshine-tiny-en`"), "{text}");
    assert!(text.contains("ok    worker"), "{text}");
}

#[test]
fn a_mount_goes_to_the_background_and_ends_when_it_is_asked_to() {
    let name = "a_mount_goes_to_the_background_and_ends_when_it_is_asked_to";
    if let Some(why) = obstacle() {
        return skip(name, &why);
    }
    let home = StorageTarget::new();
    let root = home.dir.path().join("talks");
    let output = home.run(&["mount", "talks"]);
    assert!(output.status.success(), "{}", home.said(output));
    assert!(root.join("README.txt").exists());
    // Without models recordings wait, and the mount says what for.
    let status = home.run(&["status", "talks"]);
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("`moonshine-tiny-en` is not installed"), "{text}");
    insta::assert_snapshot!("mounted_twice", home.complaint(&["mount", "talks"]));
    insta::assert_snapshot!("state_in_use", home.complaint(&["mount", "other"]));
    let info = home.run(&["storage-info", "talks", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(json["backend"]["kind"], "local");
    assert!(home.run(&["umount", "talks", "--wait"]).status.success());
    assert!(!Path::new(&root).join("README.txt").exists());
    assert!(home.run(&["reindex"]).status.success());
}
