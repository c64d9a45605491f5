//! The state folder holds everything that was said, so nobody but its owner may enter it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::daemon::DaemonError;
use crate::effective_user::effective_user;

/// What a state folder has in it, from the first start on.
const OURS: [&str; 4] = ["spool", "index.redb", "uploads", "daemon.log"];

/// Makes the folder, with those above it, for its owner alone. One that is there already and that others may
/// enter is closed to them; says whether that was so.
///
/// # Errors
/// It belongs to somebody else, who could enter it in any case, or others may enter it and it holds other things
/// than ours: closing `/srv` or `/tmp` would do harm.
pub fn private_folder(path: &Path) -> Result<bool, DaemonError> {
    let refused = |source| DaemonError::Folder { path: path.to_owned(), source };
    let forbidden = |why: String| refused(io::Error::new(io::ErrorKind::PermissionDenied, why));
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refused)?;
    let found = fs::metadata(path).map_err(refused)?;
    if found.uid() != effective_user() {
        let owner = found.uid();
        return Err(forbidden(format!("it belongs to another user (uid {owner})")));
    }
    if found.mode() & 0o077 == 0 {
        return Ok(false);
    }
    if !is_ours(path).map_err(refused)? {
        let mode = found.mode() & 0o7777;
        return Err(forbidden(format!("other users can enter it (mode {mode:o})")));
    }
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(refused)?;
    Ok(true)
}

/// Closes an empty folder of ours that others may enter: one for recordings that was made beforehand. What has files
/// in it may be meant for others, and stays as it is.
pub(crate) fn close_if_empty(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    let is_open = found.uid() == effective_user() && found.mode() & 0o077 != 0;
    if is_open && fs::read_dir(path)?.next().is_none() {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Whether nothing else is kept there.
fn is_ours(path: &Path) -> io::Result<bool> {
    let is_empty = fs::read_dir(path)?.next().is_none();
    Ok(is_empty || OURS.iter().any(|name| path.join(name).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_may_enter_is_closed_to_them() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o755, 0o750, 0o711, 0o1777] {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            assert!(private_folder(dir.path()).unwrap());
            assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700, "{mode:o}");
        }
        let deep = dir.path().join("a/b");
        assert!(!private_folder(&deep).unwrap());
        assert_eq!(fs::metadata(deep).unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_folder_for_recordings_is_closed_before_there_are_any() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        let shown = || fs::metadata(dir.path()).unwrap().mode() & 0o7777;
        mode(0o755);
        close_if_empty(dir.path()).unwrap();
        assert_eq!(shown(), 0o700);
        fs::write(dir.path().join("kept"), "").unwrap();
        mode(0o755);
        close_if_empty(dir.path()).unwrap();
        assert_eq!(shown(), 0o755);
        close_if_empty(&dir.path().join("missing")).unwrap();
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "").unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
        private_folder(dir.path()).unwrap_err();
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o1777);
        fs::create_dir(dir.path().join("spool")).unwrap();
        assert!(private_folder(dir.path()).unwrap());
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(dir.path(), Some(65_534), None).is_err() {
            eprintln!("skipped: a_folder_of_somebody_else_is_refused: only root can give one away");
            return;
        }
        assert!(private_folder(dir.path()).unwrap_err().to_string().contains("cannot use"));
    }
}
