//! Keeps the floors: a room uses rooms on lower floors only, and each outside crate has one owner.

#[path = "layers/imports.rs"]
mod imports;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the ground up. Rooms on one floor do not know each other.
const FLOORS: [&[&str]; 8] = [
    &["model", "concurrency", "regular_file", "effective_user"],
    &["spool", "audio", "speech", "models", "render", "store", "index", "view"],
    &["worker", "publishing", "fs"],
    &["upkeep"],
    &["sync"],
    &["jobs"],
    &["config"],
    &["cli", "daemon"],
];

/// `cli` starts the daemon; no other room may name a neighbour.
const NEIGHBOURS: [(&str, &str); 1] = [("cli", "daemon")];

/// Outside crates that only these rooms may name.
const OWNERS: [(&str, &[&str]); 18] = [
    ("fuser", &["fs"]),
    ("redb", &["index"]),
    ("object_store", &["store"]),
    ("tokio", &["store", "daemon"]),
    ("symphonia", &["audio"]),
    ("symphonia_adapter_libopus", &["audio"]),
    ("rubato", &["audio"]),
    ("whisper_rs", &["speech"]),
    ("sherpa_onnx", &["speech"]),
    ("ort", &["speech", "models"]),
    ("realfft", &["speech"]),
    ("notify", &["spool"]),
    ("landlock", &["worker"]),
    ("seccompiler", &["worker"]),
    ("ureq", &["models"]),
    ("daemonize", &["daemon"]),
    ("sd_notify", &["daemon"]),
    ("clap", &["cli"]),
];

/// Rooms that do no I/O, read no clock and start no thread, and what would betray them.
const PURE: [&str; 3] = ["model", "render", "view"];
const IMPURE: [&str; 6] =
    ["std::fs::", "std::net", "std::thread", "SystemTime::now", "Timestamp::now", "Instant::now"];

#[test]
fn no_room_calls_upstairs() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        // A test may borrow a neighbour to make its input.
        if is_test(&path) {
            continue;
        }
        let room = room_of(&path);
        for used in rooms_named_in(shipped(&text)) {
            let is_neighbour = NEIGHBOURS.contains(&(room.as_str(), used.as_str()));
            if used != room && floor_of(&used) >= floor_of(&room) && !is_neighbour {
                faults.push(format!("{}: {room} names {used}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = sources().into_iter().filter(|(path, _)| !is_test(path));
    let files = files.map(|(path, text)| (path, code_of(shipped(&text)))).collect();
    let mut circles = imports::circles(&files);
    // The tables of the index and `Index`, whose methods stand beside them, are still one circle.
    circles.retain(|circle| !circle.starts_with("index/"));
    assert!(circles.is_empty(), "{} circles\n{}", circles.len(), circles.join("\n"));
}

#[test]
fn a_circle_would_be_found() {
    let files = [
        ("room.rs", "mod a; mod b; mod c;\npub use a::First;\nstruct Own;"),
        ("room/a.rs", "use crate::room::{Second, c::{self, third}};\nstruct First;"),
        ("room/b.rs", "use crate::room::Own;\npub struct Second;\nfn f() { crate::room::a::g() }"),
        ("room/c.rs", "use crate::room::Own;"),
    ];
    let files = |second: &str| {
        let faces = [("room.rs", format!("{}\n{second}", files[0].1))];
        let rest = files[1..].iter().map(|(path, text)| (*path, (*text).to_owned()));
        faces.into_iter().chain(rest).map(|(path, text)| (PathBuf::from(path), text)).collect()
    };
    // `a` names an item that the front page takes from `b`, which calls into `a`.
    assert_eq!(imports::circles(&files("pub use b::Second;")), ["room/a.rs room/b.rs"]);
    // Front pages that re-export do not import.
    assert_eq!(imports::circles(&files("struct Second;")), [""; 0]);
    // A front page that calls its own part, which needs a type of the front page.
    assert_eq!(
        imports::circles(&files("struct Second; fn f() { c::third() }")),
        ["room/c.rs room.rs"]
    );
}

#[test]
fn each_outside_crate_has_its_owner() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        for (name, owners) in OWNERS {
            if names_crate(&text, name) && !owners.contains(&room.as_str()) {
                faults.push(format!("{}: {room} names the crate {name}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn pure_rooms_do_nothing_but_compute() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !PURE.contains(&room_of(&path).as_str()) {
            continue;
        }
        for word in IMPURE {
            if text.contains(word) {
                faults.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for_and_is_not_too_long() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            faults.push(format!("{}: does not begin with //!", path.display()));
        }
        let lines = shipped(&text).lines().count();
        if lines > 400 && !is_test(&path) {
            faults.push(format!("{}: {lines} lines without tests", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_files_that_pages_for_developers_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "STORAGE_IMPLEMENTATION.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for named in text.split('`').skip(1).step_by(2) {
            let is_path =
                named.contains('/') && named.ends_with(".rs") && !named.contains(['<', ' ']);
            if is_path && !root.join("src").join(named).exists() && !root.join(named).exists() {
                faults.push(format!("{page}: {named}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_environment_is_read_in_one_file() {
    let mut readers = Vec::new();
    for (path, text) in sources() {
        let code = code_of(&text);
        if !is_test(&path) && code.contains("env::var") {
            readers.push(path.display().to_string());
        }
    }
    assert_eq!(readers, ["daemon/environment.rs"]);
}

#[test]
fn an_upstairs_call_would_be_found() {
    assert_eq!(rooms_named_in("use crate::jobs::{Queue};"), ["jobs"]);
    assert_eq!(rooms_named_in("    crate::model::Key::new"), ["model"]);
    assert!(names_crate("let x = redb::Database::open(p);", "redb"));
    assert!(!names_crate("//! redb::Database is not used here", "redb"));
    assert!(!names_crate("let support = 1; // ort::x", "ort"));
}

fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(&root).unwrap().to_owned(), text);
            }
        }
    }
    found.retain(|path, _| path != Path::new("lib.rs") && path != Path::new("main.rs"));
    found
}

/// Files that are compiled for tests only: those may borrow a neighbour.
fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests")
        || room_of(path) == "fixtures"
}

/// A file without the tests at its end.
fn shipped(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn room_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn floor_of(room: &str) -> usize {
    let floor = FLOORS.iter().position(|rooms| rooms.contains(&room));
    floor.unwrap_or_else(|| panic!("room {room} stands on no floor"))
}

fn code_of(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

fn rooms_named_in(text: &str) -> Vec<String> {
    let code = code_of(text);
    let after = code.split("crate::").skip(1);
    let names = after.map(|rest| {
        rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>()
    });
    names.filter(|name| !name.is_empty()).collect()
}

fn names_crate(text: &str, name: &str) -> bool {
    let code = code_of(text);
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}
