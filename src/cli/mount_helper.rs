//! What mount(8) and fstab say, in our own words: as `/sbin/mount.scribefs SOURCE FOLDER -o OPTIONS` (a link to this
//! program), or as libfuse's `mount.fuse` calls it, `scribefs SOURCE FOLDER -o OPTIONS`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The arguments of `scribefs mount` where this process was started by mount(8); as they are where it was not.
pub(crate) fn translated(
    arguments: Vec<OsString>,
    is_command: impl Fn(&OsStr) -> bool,
) -> Vec<OsString> {
    let Some((program, rest)) = arguments.split_first() else { return arguments };
    let name = Path::new(program).file_name().unwrap_or_default();
    let is_helper = name.as_bytes().starts_with(b"mount.");
    if !is_helper && !is_called_by_fuse(rest, &is_command) {
        return arguments;
    }
    let mut words = vec![program.clone(), "mount".into()];
    words.extend(options_and_folder(rest));
    words
}

/// A first word that is no command of ours, an absolute folder, and `-o`, which is always there: a mistyped command
/// must not mount anything.
fn is_called_by_fuse(rest: &[OsString], is_command: &impl Fn(&OsStr) -> bool) -> bool {
    let [source, folder, flag, _, ..] = rest else { return false };
    let is_word = !source.as_bytes().starts_with(b"-");
    is_word && !is_command(source) && Path::new(folder).is_absolute() && flag == "-o"
}

/// mount(8) calls a helper with `SOURCE FOLDER [-sfnvrw] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`.
fn options_and_folder(rest: &[OsString]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut places = Vec::new();
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match word.to_str() {
            Some("-o") => {
                words.extend([OsString::from("-o"), rest.next().cloned().unwrap_or_default()])
            }
            Some("-t" | "-N") => _ = rest.next(),
            Some("-r") => words.extend(["-o".into(), "ro".into()]),
            Some("-f") => words.extend(["-o".into(), "fake".into()]),
            // Says more, leaves /etc/mtab alone, mounts for writing, passes over what it does not know.
            Some("-v" | "-n" | "-w" | "-s") => {}
            _ => places.push(word.clone()),
        }
    }
    if let [source, ..] = places.as_slice()
        && !matches!(source.to_str(), Some("scribefs" | "none" | ""))
    {
        words.extend(["-o".into(), [OsStr::new("fsname="), source].into_iter().collect()]);
    }
    words.extend(places.into_iter().skip(1));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let words = line.split_whitespace().map(OsString::from).collect();
        let is_command = |word: &OsStr| ["mount", "status", "help"].iter().any(|it| word == *it);
        let words = translated(words, is_command);
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn mount_and_fstab_are_understood_in_both_of_their_ways() {
        for (line, wanted) in [
            (
                "/sbin/mount.scribefs scribefs /srv/talks -n -o rw,noexec,state=/var/s",
                "/sbin/mount.scribefs mount -o rw,noexec,state=/var/s /srv/talks",
            ),
            (
                "/sbin/mount.fuse.scribefs talks /srv/talks -s -v -o ro -t fuse.scribefs",
                "/sbin/mount.fuse.scribefs mount -o ro -o fsname=talks /srv/talks",
            ),
            ("scribefs scribefs /mnt -o rw,dev,suid", "scribefs mount -o rw,dev,suid /mnt"),
            ("scribefs none /mnt -o rw", "scribefs mount -o rw /mnt"),
            ("/sbin/mount.scribefs none /mnt -f", "/sbin/mount.scribefs mount -o fake /mnt"),
            ("scribefs mount /mnt -o ro", "scribefs mount /mnt -o ro"),
            ("scribefs status /mnt", "scribefs status /mnt"),
            ("scribefs --version", "scribefs --version"),
            ("scribefs stauts", "scribefs stauts"),
            ("scribefs umonut /mnt", "scribefs umonut /mnt"),
        ] {
            assert_eq!(said(line), wanted);
        }
    }
}
