//! What is shipped beside the program: settings, units, scripts.

use std::fs;
use std::path::Path;
use std::process::Command;

use scribefs::config::{Config, KEYS, Layer, Places};

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn places() -> Places {
    Places {
        home: "/home/me".into(),
        working_directory: "/work".into(),
        state: "/home/me/.local/state/scribefs".into(),
        models: "/home/me/.local/share/scribefs/models".into(),
        cores: 4,
    }
}

#[test]
fn the_program_holds_no_store_that_is_for_tests() {
    let program = fs::read(env!("CARGO_BIN_EXE_scribefs")).unwrap();
    let program = String::from_utf8_lossy(&program);
    assert!(program.contains("store did not answer for "), "its words are not found at all");
    // Of an error of `FlakyStore`, and of a link of `MemoryStore`.
    for text in ["failed on cue at call", "?seconds="] {
        assert!(!program.contains(text), "{text}");
    }
}

#[test]
fn the_settings_file_equals_the_defaults() {
    let shipped = text("config/scribefs.toml");
    let layer = Layer::from_toml(&shipped, Path::new("scribefs.toml")).unwrap();
    let said = Config::new(&layer, &places()).unwrap();
    let silent = Config::new(&Layer::default(), &places()).unwrap();
    assert_eq!(format!("{said:#?}"), format!("{silent:#?}"));
}

#[test]
fn the_settings_file_names_every_setting_and_its_folders_are_the_defaults() {
    let shipped = text("config/scribefs.toml");
    let named = keys_named_in(&shipped);
    for key in KEYS {
        assert!(named.iter().any(|name| name == key), "{key} is missing");
    }
    let folders: String = shipped
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| {
            ["state", "store", "models"].iter().any(|key| line.starts_with(&format!("{key} =")))
        })
        .fold(String::new(), |all, line| all + line + "\n");
    let layer = Layer::from_toml(&folders, Path::new("scribefs.toml")).unwrap();
    let said = Config::new(&layer, &places()).unwrap();
    let silent = Config::new(&Layer::default(), &places()).unwrap();
    assert_eq!(format!("{said:?}"), format!("{silent:?}"));
}

/// Keys with a value, those that are taken out with `#` too. Below `[s3]`, `bucket` is `s3_bucket`.
fn keys_named_in(file: &str) -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in file.lines() {
        if let Some(head) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{head}_");
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once('=') {
            keys.push(format!("{section}{}", key.trim()));
        }
    }
    keys
}

#[test]
fn systemd_accepts_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: systemd_accepts_the_units: systemd-analyze is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (unit, name, user) in [
        ("scribefs-user.service", "scribefs.service", true),
        ("scribefs@.service", "scribefs@talks.service", false),
    ] {
        // The program need not be installed where these tests run.
        let program = env!("CARGO_BIN_EXE_scribefs");
        let unit = text(&format!("systemd/{unit}"))
            .replace("%h/.cargo/bin/scribefs", program)
            .replace("/usr/local/bin/scribefs", program);
        let path = dir.path().join(name);
        fs::write(&path, unit).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.arg("verify").arg("--man=no").env("XDG_RUNTIME_DIR", dir.path());
        if user {
            command.arg("--user");
        }
        let output = command.arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("Failed to initialize manager") || said.contains("RuntimeDirectory") {
            eprintln!("skipped: systemd_accepts_the_units: {name}: {}", said.trim());
            continue;
        }
        let complaints: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
        assert!(output.status.success() && complaints.is_empty(), "{name}: {said}");
    }
}

#[test]
fn the_units_give_the_daemon_what_it_needs() {
    for unit in ["systemd/scribefs-user.service", "systemd/scribefs@.service"] {
        let text = text(unit);
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{unit} has no {key}")).to_owned()
        };
        // Longer than the limit that the daemon has set itself (`daemon/shutdown.rs`).
        assert_eq!(value("TimeoutStopSec"), "30s", "{unit}");
        assert_eq!(value("Restart"), "on-failure", "{unit}");
        assert!(value("LimitNOFILE").parse::<u64>().unwrap() >= 65_536, "{unit}");
        assert!(
            value("EnvironmentFile").starts_with("-/")
                || value("EnvironmentFile").starts_with("-%h")
        );
        assert_eq!(value("Type"), "notify", "{unit}");
    }
    let machine = text("systemd/scribefs@.service");
    // A dead mount answers nobody, so this may fail, and a restart must go on.
    assert!(machine.contains("ExecStartPre=-+"));
    // All users: they may come in, drop, and have what they dropped.
    assert!(machine.contains("-o allow_other,inbox_mode=1777"));
    let capabilities = "CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE";
    assert!(machine.contains(&format!("AmbientCapabilities={capabilities}")));
    assert!(machine.lines().any(|line| {
        line.starts_with("CapabilityBoundingSet=") && line.ends_with(capabilities)
    }));
}

#[test]
fn scripts_are_sound_shell() {
    for script in
        ["scripts/setup", "scripts/demo", "scripts/test", "scripts/bench", ".ci/run", ".ci/check"]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let output = Command::new("sh").arg("-n").arg(&path).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn continuous_integration_runs_the_tests_of_users() {
    assert!(text(".ci/run").lines().any(|line| line == "exec scripts/test"));
}
