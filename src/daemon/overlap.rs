//! The folders that the daemon works in lie apart from its mount, from every other mount of ours, and from each other.
//!
//! Below its own mount it would ask the kernel, which would ask the daemon: nothing would be published, and reads could
//! wait for each other for ever. Published recordings in the inbox would be taken for drops, and those in the cache would be
//! evicted.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::config::Config;
use crate::fs as filesystem;

/// Two of our folders lie within each other, or are the same.
#[derive(Debug, thiserror::Error)]
#[error("the {one} {path} {} the {other} {folder}", .relation.words())]
pub struct Overlap {
    one: Part,
    path: PathBuf,
    relation: Relation,
    other: Part,
    folder: PathBuf,
}

/// What a folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Mountpoint,
    /// Of this user or another one, whatever serves it.
    Mount,
    State,
    /// A folder that the state folder is made of.
    OfState(&'static str),
    Store,
    Models,
    Watched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Is,
    Contains,
    LiesIn,
}

/// What lies in the state folder, and that nothing else may lie in.
const PARTS: [(&str, &str); 4] = [
    ("spool", "folder of the inbox"),
    ("cache", "cache"),
    ("scratch", "scratch folder"),
    ("followed", "copies of a bucket"),
];

/// Must be called before anything is mounted at the mountpoint.
///
/// # Errors
/// With the first folder that overlaps the mountpoint, a mount or another folder.
pub fn check_overlaps(config: &Config, mountpoint: &Path) -> Result<(), Overlap> {
    let folders = folders(config);
    let place = (Part::Mountpoint, mountpoint.to_owned());
    for folder in &folders {
        check_apart(&place, folder)?;
    }
    check_mounts(&place, &folders, &filesystem::mounts())?;
    check_pairs(&folders)
}

/// The same for commands that need no mount.
pub(crate) fn check_folders(config: &Config) -> Result<(), Overlap> {
    check_pairs(&folders(config))
}

fn folders(config: &Config) -> Vec<(Part, PathBuf)> {
    let parts = PARTS.map(|(name, what)| (Part::OfState(what), config.state.join(name)));
    let mut folders = vec![
        (Part::State, config.state.clone()),
        (Part::Store, config.uploads.clone()),
        (Part::Models, config.models.clone()),
    ];
    folders.extend(parts);
    folders.extend(config.watch.iter().map(|folder| (Part::Watched, folder.clone())));
    folders
}

fn check_pairs(folders: &[(Part, PathBuf)]) -> Result<(), Overlap> {
    for (number, one) in folders.iter().enumerate() {
        for other in &folders[number + 1..] {
            if !may_overlap(one.0, other.0) {
                check_apart(one, other)?;
            }
        }
    }
    Ok(())
}

/// Nothing of ours lies in a mount of ours: its daemon would take what is written there for drops, or refuse it.
fn check_mounts(
    mountpoint: &(Part, PathBuf),
    folders: &[(Part, PathBuf)],
    mounts: &[PathBuf],
) -> Result<(), Overlap> {
    let place = resolved(&mountpoint.1);
    for (part, folder) in folders.iter().chain([mountpoint]) {
        let whole = resolved(folder);
        // What is mounted at the place itself is another question.
        let around = mounts.iter().find(|mount| **mount != place && whole.starts_with(mount));
        if let Some(mount) = around {
            return Err(Overlap {
                one: *part,
                path: folder.clone(),
                relation: Relation::LiesIn,
                other: Part::Mount,
                folder: mount.clone(),
            });
        }
    }
    Ok(())
}

fn check_apart(one: &(Part, PathBuf), other: &(Part, PathBuf)) -> Result<(), Overlap> {
    let Some(relation) = relation(&one.1, &other.1) else { return Ok(()) };
    if is_meant(one.0, relation, other.0) {
        return Ok(());
    }
    let ((one, path), (other, folder)) = (one.clone(), other.clone());
    Err(Overlap { one, path, relation, other, folder })
}

/// What has nothing to do with each other: models are only read, and watched folders may be watched twice.
fn may_overlap(one: Part, other: Part) -> bool {
    matches!(
        (one, other),
        (Part::Models | Part::Watched, Part::Watched) | (Part::OfState(_), Part::OfState(_))
    )
}

/// Store and models may have their place in the state folder, apart from what it is made of.
fn is_meant(one: Part, relation: Relation, other: Part) -> bool {
    one == Part::State
        && relation == Relation::Contains
        && matches!(other, Part::Store | Part::Models | Part::OfState(_))
}

impl Overlap {
    pub fn remedy(&self) -> &'static str {
        match (self.one, self.other) {
            (Part::Mountpoint, Part::Mount) => "Mount at a folder outside every other mount.",
            (_, Part::Mount) => {
                "Choose folders outside every mount: `--state`, `--store`, `--models`."
            }
            (Part::Mountpoint, _) => "A mount hides what is below it: choose separate folders.",
            (Part::Watched, _) | (_, Part::Watched) => {
                "It would be copied into itself: watch a folder that contains nothing of scribefs."
            }
            (Part::Models, _) | (_, Part::Models) => {
                "Give the models a folder of their own with `--models`: workers can read all of it."
            }
            _ => {
                "Give published recordings a folder of their own with `--store`, outside the parts of the state \
                 folder."
            }
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mountpoint => "mountpoint",
            Self::Mount => "scribefs mounted at",
            Self::State => "state folder",
            Self::OfState(what) => what,
            Self::Store => "store folder",
            Self::Models => "models folder",
            Self::Watched => "watched folder",
        })
    }
}

impl Relation {
    fn words(self) -> &'static str {
        match self {
            Self::Is => "is",
            Self::Contains => "contains",
            Self::LiesIn => "is inside",
        }
    }
}

fn relation(one: &Path, other: &Path) -> Option<Relation> {
    match (lies_in(one, other), lies_in(other, one)) {
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

    /// What is said of a state folder `s`, or nothing.
    fn said(store: &str, models: &str, watched: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("s/spool/inbox")).unwrap();
        symlink(at("s/spool"), at("link")).unwrap();
        let parts = PARTS.map(|(name, what)| (Part::OfState(what), at("s").join(name)));
        let mut folders =
            vec![(Part::State, at("s")), (Part::Store, at(store)), (Part::Models, at(models))];
        folders.extend(parts);
        folders.push((Part::Watched, at(watched)));
        check_pairs(&folders).err().map(|err| err.to_string()).unwrap_or_default()
    }

    #[test]
    fn nothing_lies_in_what_the_state_folder_is_made_of_or_around_it() {
        for (store, models, watched) in [
            ("s/uploads", "models", "in"),
            ("out", "s/models", "in"),
            ("out", "models", "models/in"),
        ] {
            assert_eq!(said(store, models, watched), "", "{store} {models} {watched}");
        }
        for (store, models, watched, wanted) in [
            ("s", "models", "in", "is the store folder"),
            (".", "models", "in", "is inside the store folder"),
            ("s/spool", "models", "in", "is the folder of the inbox"),
            ("s/spool/inbox/kept", "models", "in", "is inside the folder of the inbox"),
            ("link/inbox", "models", "in", "is inside the folder of the inbox"),
            ("s/cache/x", "models", "in", "is inside the cache"),
            ("s/scratch", "models", "in", "is the scratch folder"),
            ("s/followed/x", "models", "in", "is inside the copies of a bucket"),
            ("out", "out/models", "in", "contains the models folder"),
            ("out", "s", "in", "is the models folder"),
            ("out", "link/models", "in", "is inside the folder of the inbox"),
            ("out", "models", "s/spool/inbox", "contains the watched folder"),
            ("out", "models", "out", "is the watched folder"),
        ] {
            let said = said(store, models, watched);
            assert!(said.contains(wanted), "{store} {models} {watched}: {said}");
        }
    }

    #[test]
    fn nothing_lies_in_a_mount_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        fs::create_dir_all(at("talks/inbox")).unwrap();
        symlink(at("talks/inbox"), at("link")).unwrap();
        let mounts = [at("talks")];
        let said = |mountpoint: &str, state: &str| {
            let folders = [(Part::State, at(state))];
            let checked = check_mounts(&(Part::Mountpoint, at(mountpoint)), &folders, &mounts);
            checked.err().map(|err| err.to_string()).unwrap_or_default()
        };
        assert_eq!(said("other", "state"), "");
        // It may be dead, and is mounted over then.
        assert_eq!(said("talks", "state"), "");
        for (mountpoint, state) in
            [("other", "talks/inbox/state"), ("other", "link/state"), ("talks/inbox/x", "state")]
        {
            let said = said(mountpoint, state);
            assert!(said.contains("is inside the scribefs mounted at"), "{mountpoint}: {said}");
        }
    }
}
