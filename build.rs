//! Tells the linker where the finished program looks for sherpa-onnx and its ONNX Runtime, and the program
//! of which commit it was built.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SHERPA_ONNX_LIB_DIR");
    name_libraries();
    name_version();
}

fn name_libraries() {
    if env::var_os("CARGO_FEATURE_SHERPA").is_none() {
        return;
    }
    // Beside the program, then where packages put them; programs of tests lie one folder deeper.
    for place in ["$ORIGIN", "$ORIGIN/../lib/scribefs", "$ORIGIN/.."] {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{place}");
    }
    // Last, where this build found them: so that `cargo install --path .` works too.
    if let Some(dir) = env::var_os("SHERPA_ONNX_LIB_DIR").map(PathBuf::from)
        && let Ok(dir) = dir.canonicalize()
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", dir.display());
    }
}

/// Sets `PROGRAM_VERSION`: `0.1.0 (a3557dc01234)`, or `0.1.0` where the commit is unknown.
///
/// A debug build leaves the commit out, or it would be compiled anew after each.
fn name_version() {
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let revision =
        if is_release { revision_of_checkout().or_else(revision_of_package) } else { None };
    let mut version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    if let Some(revision) = revision {
        version += &format!(" ({revision})");
    }
    println!("cargo:rustc-env=PROGRAM_VERSION={version}");
}

/// The commit that is checked out, with `-dirty` if tracked files differ from it.
fn revision_of_checkout() -> Option<String> {
    let folder = git(&["rev-parse", "--absolute-git-dir"])?;
    // HEAD changes when a branch is checked out, its log when something is committed.
    for file in ["HEAD", "logs/HEAD"] {
        let path = Path::new(&folder).join(file);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    // A checkout that only contains this package is somebody else's.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    let revision = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { revision } else { revision + "-dirty" })
}

/// What `cargo package` writes down; there is no checkout then.
fn revision_of_package() -> Option<String> {
    let facts = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let after = facts.split("\"sha1\"").nth(1)?;
    let sha = after.split('"').nth(1)?;
    sha.get(..12).map(str::to_owned)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
