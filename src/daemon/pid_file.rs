//! The pid file of a state folder: which process serves which mount.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process;

use crate::fs::MountServer;

const NAME: &str = "daemon.pid";

/// Says that this process serves `mountpoint`.
pub(crate) fn write(state: &Path, mountpoint: &Path) -> io::Result<()> {
    let pid = process::id().to_string();
    fs::write(state.join(NAME), [pid.as_bytes(), mountpoint.as_os_str().as_bytes()].join(&b'\n'))
}

/// The last daemon of this state folder. It may have ended.
pub fn last_server(state: &Path) -> Option<MountServer> {
    let text = fs::read(state.join(NAME)).ok()?;
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let pid = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some(MountServer { pid, mountpoint: OsStr::from_bytes(&text[end + 1..]).into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_daemon_of_a_state_folder_is_known() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_server(dir.path()), None);
        let mountpoint = Path::new("/mnt/my\nnotes");
        write(dir.path(), mountpoint).unwrap();
        let pid = libc::pid_t::try_from(process::id()).unwrap();
        let server = MountServer { pid, mountpoint: mountpoint.to_owned() };
        assert_eq!(last_server(dir.path()), Some(server));
        fs::write(dir.path().join(NAME), "12").unwrap();
        assert_eq!(last_server(dir.path()), None);
    }
}
