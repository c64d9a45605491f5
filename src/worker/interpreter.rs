//! Which other program the kernel loads to run one: the dynamic linker of an ELF file, the shell of a script.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Head of a program that is looked at: scripts name their shell in the first line.
const HEAD: usize = 4096;
/// Program header that names the dynamic linker.
const PT_INTERP: u32 = 3;

/// The interpreters of `program`: none for a static one, two for a script (its shell, and the shell's linker).
pub(crate) fn interpreters(program: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut program = program.to_owned();
    // A script may name a script; the kernel follows four.
    while found.len() < 4
        && let Some(next) = interpreter(&program)
    {
        found.push(next.clone());
        program = next;
    }
    found
}

fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut file = File::open(program).ok()?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD as u64).read_to_end(&mut head).ok()?;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii();
        let path = line.split(|byte| byte.is_ascii_whitespace()).next()?;
        return Some(PathBuf::from(OsStr::from_bytes(path)));
    }
    linker(&file, &head)
}

/// Of a 64-bit little-endian ELF file.
fn linker(file: &File, head: &[u8]) -> Option<PathBuf> {
    if !head.starts_with(b"\x7FELF\x02\x01") {
        return None;
    }
    let table = number::<8>(head, 32)?;
    let size = usize::try_from(number::<2>(head, 54)?).ok()?;
    let count = number::<2>(head, 56)?;
    for at in 0..count {
        let mut header = vec![0; size];
        file.read_exact_at(&mut header, table.checked_add(at * size as u64)?).ok()?;
        if number::<4>(&header, 0)? != u64::from(PT_INTERP) {
            continue;
        }
        let length = usize::try_from(number::<8>(&header, 32)?).ok()?.min(HEAD);
        let mut path = vec![0; length];
        file.read_exact_at(&mut path, number::<8>(&header, 8)?).ok()?;
        let path = path.split(|byte| *byte == 0).next()?;
        return Some(PathBuf::from(OsStr::from_bytes(path)));
    }
    None
}

/// An unsigned number of so many bytes.
fn number<const BYTES: usize>(from: &[u8], at: usize) -> Option<u64> {
    let bytes = from.get(at..at.checked_add(BYTES)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_and_a_script_name_what_runs_them() {
        let shell = Path::new("/bin/sh").canonicalize().unwrap();
        let of_shell = interpreters(&shell);
        assert!(of_shell.iter().all(|linker| linker.exists()), "{of_shell:?}");
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#! /bin/sh -e\nexit 0\n").unwrap();
        let of_script = interpreters(&script);
        assert_eq!(of_script[0], Path::new("/bin/sh"));
        assert_eq!(of_script[1..], of_shell);
    }

    #[test]
    fn anything_else_has_none() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("empty", &b""[..]), ("cut", b"\x7FELF\x02\x01"), ("text", b"hello")]
        {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(interpreters(&path), Vec::<PathBuf>::new(), "{name}");
        }
    }
}
