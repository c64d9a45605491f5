//! The mountpoint lies apart from every folder that the daemon itself works in. Below its own mount it would ask
//! the kernel, which would ask the daemon: nothing would be published, and reads could wait for each other for ever.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::daemon::serve::Plan;

/// The mountpoint and one of our folders lie within each other, or are the same.
#[derive(Debug, thiserror::Error)]
#[error("the mountpoint {mountpoint} {} the {what} folder {folder}", .relation.words())]
pub struct Overlap {
    mountpoint: PathBuf,
    relation: Relation,
    what: &'static str,
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Is,
    Contains,
    LiesIn,
}

impl Relation {
    fn words(self) -> &'static str {
        match self {
            Self::Is => "is",
            Self::Contains => "contains",
            Self::LiesIn => "lies in",
        }
    }
}

/// Must be called before anything is mounted at the mountpoint.
///
/// # Errors
/// With the first folder that overlaps the mountpoint, links and relative paths resolved.
pub fn check_overlaps(plan: &Plan) -> Result<(), Overlap> {
    let config = &plan.config;
    let own = [("state", &config.state), ("store", &config.uploads), ("models", &config.models)];
    let watched = config.watch.iter().map(|folder| ("watched", folder));
    let mountpoint = &plan.mount.mountpoint;
    for (what, folder) in own.into_iter().chain(watched) {
        if let Some(relation) = relation(mountpoint, folder) {
            let (mountpoint, folder) = (mountpoint.clone(), folder.clone());
            return Err(Overlap { mountpoint, relation, what, folder });
        }
    }
    Ok(())
}

fn relation(mountpoint: &Path, folder: &Path) -> Option<Relation> {
    match (lies_in(mountpoint, folder), lies_in(folder, mountpoint)) {
        (true, true) => Some(Relation::Is),
        (true, false) => Some(Relation::LiesIn),
        (false, true) => Some(Relation::Contains),
        (false, false) => None,
    }
}

/// Whether `inner` is `outer` or lies below it. The same folder under another name (a bind mount) counts.
fn lies_in(inner: &Path, outer: &Path) -> bool {
    let (inner, outer) = (resolved(inner), resolved(outer));
    let is_outer = |folder: &Path| is_same_folder(folder, &outer).unwrap_or(false);
    inner.starts_with(&outer) || inner.ancestors().any(is_outer)
}

fn is_same_folder(a: &Path, b: &Path) -> io::Result<bool> {
    let (a, b) = (fs::metadata(a)?, fs::metadata(b)?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// Without links as far as the path exists; what will be made below that is taken as it is spelled.
fn resolved(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|folder| Some((folder, folder.canonicalize().ok()?)));
    let Some((folder, mut whole)) = existing else { return path.to_owned() };
    for part in path.strip_prefix(folder).unwrap_or(Path::new("")).components() {
        match part {
            Component::ParentDir => _ = whole.pop(),
            Component::Normal(name) => whole.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn folders_overlap_whichever_contains_the_other_and_however_they_are_spelled() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("talks/sub")).unwrap();
        fs::create_dir_all(at("state")).unwrap();
        symlink(at("talks"), at("link")).unwrap();
        symlink(at("talks/sub"), at("state/into-talks")).unwrap();
        for (mountpoint, folder, wanted) in [
            ("talks", "talks", Some(Relation::Is)),
            ("talks", "link", Some(Relation::Is)),
            ("talks", "talks/.state", Some(Relation::Contains)),
            ("talks", "link/not/yet/there", Some(Relation::Contains)),
            ("talks", "state/../talks/.state", Some(Relation::Contains)),
            ("talks", "none/../talks/.state", Some(Relation::Contains)),
            ("talks", "state/into-talks", Some(Relation::Contains)),
            ("talks/sub", "link", Some(Relation::LiesIn)),
            ("link/sub/new", "talks", Some(Relation::LiesIn)),
            ("talks", "state", None),
            ("talks", "talks-state", None),
            ("talks/sub", "talks/sub2", None),
        ] {
            assert_eq!(relation(&at(mountpoint), &at(folder)), wanted, "{mountpoint} {folder}");
        }
    }
}
