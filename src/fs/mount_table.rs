//! The kernel's table of mounts, as this process sees it.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What `findmnt -t` knows us by.
pub(crate) const FILESYSTEM_TYPE: &str = "fuse.scribefs";

/// Every mount, a line each.
const MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountLine {
    /// Its own number in the table, and that of the mount it lies in or on.
    pub(crate) id: u32,
    parent: u32,
    pub(crate) path: PathBuf,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) filesystem: Vec<u8>,
    /// Who has mounted it, where it is FUSE.
    pub(crate) user: Option<u32>,
}

impl MountLine {
    pub(crate) fn is_ours(&self) -> bool {
        self.filesystem == FILESYSTEM_TYPE.as_bytes()
    }
}

/// What is mounted at this very path; of several, the one that covers the others.
pub(crate) fn top_of(mountpoint: &Path) -> io::Result<Option<MountLine>> {
    Ok(top(all_at(mountpoint)?))
}

/// All that is mounted at this very path, in no order.
pub(crate) fn all_at(mountpoint: &Path) -> io::Result<Vec<MountLine>> {
    let place = absolute(mountpoint)?;
    let table = std::fs::read(MOUNT_TABLE)?;
    Ok(lines(&table).filter(|mount| mount.path == place).collect())
}

/// The order of the table says nothing: a mount can be put below one that was there before.
fn top(mounts: Vec<MountLine>) -> Option<MountLine> {
    let covered: Vec<u32> = mounts.iter().map(|mount| mount.parent).collect();
    mounts.into_iter().rfind(|mount| !covered.contains(&mount.id))
}

/// The number in the table of the mount that an open descriptor lies in. Whoever serves that mount is not asked.
pub(crate) fn id_of(file: &impl AsRawFd) -> io::Result<u32> {
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = facts.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether a scribefs is mounted at this very path, alive or dead.
pub(crate) fn is_mounted(mountpoint: &Path) -> io::Result<bool> {
    Ok(top_of(mountpoint)?.is_some_and(|mount| mount.is_ours()))
}

/// Where a scribefs is mounted, alive or dead, as far as this process can see.
pub(crate) fn mounts() -> Vec<MountLine> {
    let table = std::fs::read(MOUNT_TABLE).unwrap_or_default();
    lines(&table).filter(MountLine::is_ours).collect()
}

/// The path without links. The last part is taken as it is: of a dead mount nothing can be asked.
pub(crate) fn absolute(path: &Path) -> io::Result<PathBuf> {
    if let Ok(whole) = path.canonicalize() {
        return Ok(whole);
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent.as_os_str().is_empty() => {
            Ok(Path::new(".").canonicalize()?.join(name))
        }
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => std::path::absolute(path),
    }
}

fn lines(table: &[u8]) -> impl DoubleEndedIterator<Item = MountLine> {
    table.split(|byte| *byte == b'\n').filter_map(line)
}

fn line(line: &[u8]) -> Option<MountLine> {
    let mut words = line.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let device = std::str::from_utf8(words.next()?).ok()?.split_once(':')?;
    let path = words.nth(1)?;
    let mut rest = words.skip_while(|word| *word != b"-").skip(1);
    let filesystem = rest.next()?.to_vec();
    let options = std::str::from_utf8(rest.nth(1).unwrap_or_default()).unwrap_or_default();
    let user = options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
    Some(MountLine {
        id,
        parent,
        path: PathBuf::from(unescaped(path)),
        device: (device.0.parse().ok()?, device.1.parse().ok()?),
        filesystem,
        user,
    })
}

/// Blanks, tabs, line ends and backslashes stand as three octal digits.
fn unescaped(path: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = &after[3..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_tells_place_device_type_and_who_has_mounted() {
        let text =
            b"45 24 0:38 / /mnt/my\\040notes rw,nosuid shared:7 master:1 - fuse.scribefs scribefs \
            rw,user_id=1000,group_id=1000,default_permissions";
        let mount = line(text).unwrap();
        assert_eq!(mount.path, Path::new("/mnt/my notes"));
        assert!(mount.is_ours());
        assert_eq!((mount.device, mount.user), ((0, 38), Some(1000)));
        let disk = line(b"24 1 8:1 / / rw - ext4 /dev/sda1 rw").unwrap();
        assert!(!disk.is_ours());
        assert_eq!((disk.device, disk.user), ((8, 1), None));
    }
    #[test]
    fn the_mount_that_no_other_lies_on_covers_them_whatever_their_order() {
        let text = |id: u32, parent: u32| {
            format!("{id} {parent} 0:{id} / /m rw - fuse.scribefs scribefs rw,user_id=0")
        };
        for order in [[(40, 20), (50, 40)], [(40, 50), (50, 20)]] {
            let mounts: Vec<MountLine> =
                order.iter().filter_map(|it| line(text(it.0, it.1).as_bytes())).collect();
            let wanted = if order[1].1 == 40 { 50 } else { 40 };
            assert_eq!(top(mounts).unwrap().device, (0, wanted));
        }
    }
}
