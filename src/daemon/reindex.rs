//! The index of a state folder: opened, or made anew from what the stores hold.
//!
//! A new index is always made beside the one that is there, under another name until it is whole: half an index must
//! not be taken for all there is.

use std::fmt::Display;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::daemon::storage::open_placed;
use crate::daemon::{DaemonError, shutdown_mark};
use crate::index::{self, Index, IndexError};
use crate::model::{self, StateRole};
use crate::publishing;
use crate::store::{Bucket, LocalStore, Store};
use crate::upkeep::{self, RebuildError, Rebuilt};

/// Longest wait for another process that makes the index: with many recordings it takes minutes, which is said instead.
const PATIENCE: Duration = Duration::from_secs(10);

const LOOK: Duration = Duration::from_millis(20);

/// The index of that state; made anew from the places that are given where it is missing or damaged. The local store is
/// locked from then on.
pub fn open_index(
    config: &Config,
    local: &Arc<LocalStore>,
    bucket: Option<&Arc<dyn Bucket>>,
) -> Result<Index, DaemonError> {
    let path = config.state.join("index.redb");
    let _locked = lock(&path)?;
    if is_rebuild_due(&path) {
        log::warn!("the index is damaged: rebuilding it");
        match rebuild_over(config, local, bucket, &path) {
            Ok(rebuilt) => name_left_out(&rebuilt),
            // It is still due. What can be read of the old index is shown until then.
            Err(DaemonError::Rebuild(err)) => {
                log::error!("the index could not be rebuilt: {}", model::causes(&err));
            }
            Err(err) => return Err(err),
        }
    }
    let found = sound_index(&path, Index::open)?;
    lock_store(local)?;
    let index = match found {
        Some(index) => index,
        None => make_index(&path, local.as_ref(), bucket.map(AsRef::as_ref))?,
    };
    index.claim_role(StateRole::Writer)?;
    Ok(index)
}

/// The index that is there, for whoever makes none of the store; a damaged one is put aside.
pub(crate) fn existing_index(path: &Path) -> Result<Option<Index>, DaemonError> {
    let _locked = lock(path)?;
    let found = sound_index(path, Index::open)?;
    // A writer's is refused by whoever asks.
    match found {
        Some(index) if is_followers(&index)? && is_rebuild_due(path) => {
            index.close()?;
            put_aside(path, &"damage was found in it")?;
            Ok(None)
        }
        found => Ok(found),
    }
}

/// Whether the index is damaged as far as is known, and was not rebuilt for that again and again.
fn is_rebuild_due(path: &Path) -> bool {
    if !index::is_rebuild_due(path) {
        return false;
    }
    let may_help = index::may_rebuild_help(path);
    if !may_help {
        log::error!(
            "the index was rebuilt twice and found damaged again: it is used as it is; please report this, with \
             the lines of the log before it, and run `scribefs reindex` when that is fixed"
        );
    }
    may_help
}

fn is_followers(index: &Index) -> Result<bool, IndexError> {
    Ok(index.role()? == Some(StateRole::Follower))
}

/// Until the answer is dropped, no other process looks for the index of that state or makes it anew. Two that made one at
/// once would remove each other's unfinished file, and the one that is left may be empty.
///
/// # Errors
/// `InUse`: another one is still making it.
fn lock(path: &Path) -> Result<File, DaemonError> {
    let lock = path.with_extension("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&lock);
    let file = file.map_err(|source| folder(&lock, source))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => {
                return Err(IndexError::InUse { path: path.display().to_string() }.into());
            }
            Err(TryLockError::Error(source)) => return Err(folder(&lock, source)),
        }
    }
}

/// Last: another process that has the same state folder is told by the index.
fn lock_store(local: &LocalStore) -> Result<(), DaemonError> {
    let folder = local.root().to_owned();
    local.lock().map_err(|source| DaemonError::StoreLock { folder, source })
}

/// The index that is there; a damaged one is put aside.
fn sound_index(
    path: &Path,
    open: fn(&Path) -> Result<Index, IndexError>,
) -> Result<Option<Index>, DaemonError> {
    if !path.exists() {
        return Ok(None);
    }
    match shutdown_mark::patiently(path, || open(path)) {
        Err(IndexError::Damaged(why)) => put_aside(path, &why).map(|()| None),
        opened => Ok(Some(opened?)),
    }
}

fn put_aside(path: &Path, why: &dyn Display) -> Result<(), DaemonError> {
    let aside = aside(path);
    log::error!(
        "the index is damaged ({why}) and kept as {}; whatever is not in the recordings' files is lost with it: \
         the results of jobs, and renames and edits whose pages were not written yet",
        aside.display()
    );
    fs::rename(path, &aside).map_err(|source| folder(&aside, source))?;
    index::rebuild_is_done(path).map_err(|source| folder(path, source))
}

/// Keeps the file under another name too, before another one takes its place: what could not be read of it may be in
/// no other file.
fn keep_damaged(path: &Path) -> Result<(), DaemonError> {
    let aside = aside(path);
    // Not every file system has links.
    let kept = fs::hard_link(path, &aside).or_else(|_| fs::copy(path, &aside).map(drop));
    kept.map_err(|source| folder(&aside, source))?;
    log::warn!("the damaged index is kept as {}", aside.display());
    Ok(())
}

/// Where a damaged index goes: beside those that went there before, of which none may be the worse one.
fn aside(path: &Path) -> PathBuf {
    let numbered = (2_u32..).map(|number| path.with_extension(format!("redb.damaged-{number}")));
    let mut names = std::iter::once(path.with_extension("redb.damaged")).chain(numbered);
    let is_free = |name: &PathBuf| name.symlink_metadata().is_err();
    names.find(is_free).unwrap_or_else(|| path.with_extension("redb.damaged"))
}

/// Makes the index anew, whether or not there is one. Until the new one is whole, the old one stands.
pub fn reindex(
    config: &Config,
    local: &Arc<LocalStore>,
    bucket: Option<&Arc<dyn Bucket>>,
) -> Result<Rebuilt, DaemonError> {
    let path = config.state.join("index.redb");
    let _locked = lock(&path)?;
    let rebuilt = rebuild_over(config, local, bucket, &path)?;
    index::forget_rebuilds(&path).map_err(|source| folder(&path, source))?;
    Ok(rebuilt)
}

/// The same for whoever has the lock.
fn rebuild_over(
    config: &Config,
    local: &Arc<LocalStore>,
    bucket: Option<&Arc<dyn Bucket>>,
    path: &Path,
) -> Result<Rebuilt, DaemonError> {
    let placed = open_placed(config, local.clone(), bucket.cloned())?;
    // Kept open to the end: nobody else uses it meanwhile.
    let old = sound_index(path, Index::open_checked)?;
    lock_store(local)?;
    if let Some(old) = &old {
        if_readable(old.claim_role(StateRole::Writer))?;
        if_readable(publishing::take_back_claims(&placed, old))?;
        // What only the index knows so far, such as a rename, has to be in the store before it is read.
        let written = if_readable(publishing::write_pages_due(&placed, old))?;
        let left = written.map_or(0, |written| written.left);
        if left != 0 {
            log::warn!(
                "{left} changes are in the old index only and are lost: see `scribefs fsck`"
            );
        }
    }
    let (index, rebuilt) = fill_beside(path, old.as_ref(), |index| {
        rebuild(local.as_ref(), bucket.map(AsRef::as_ref), index)
    })?;
    publishing::write_pages_due(&placed, &index)?;
    index.close()?;
    if index::is_rebuild_due(path) {
        keep_damaged(path)?;
    }
    take_its_place(path)?;
    if let Some(old) = old {
        if_readable(old.close())?;
    }
    Ok(rebuilt)
}

/// What was asked of an index that is replaced: where it cannot be read, that much of it is lost.
fn if_readable<T>(asked: Result<T, IndexError>) -> Result<Option<T>, IndexError> {
    match asked {
        Err(IndexError::Damaged(why)) => {
            log::warn!("part of the old index cannot be read and is lost: {why}");
            Ok(None)
        }
        asked => asked.map(Some),
    }
}

fn make_index(
    path: &Path,
    local: &dyn Store,
    bucket: Option<&dyn Bucket>,
) -> Result<Index, DaemonError> {
    let (index, rebuilt) = fill_beside(path, None, |index| {
        rebuild(local, bucket, index).or_else(|err| match err {
            RebuildError::Store(err) if bucket.is_some() => {
                log::warn!(
                    "the bucket will be searched for recordings later: {}",
                    model::causes(&err)
                );
                let rebuilt = rebuild(local, None, index)?;
                index.set_needs_remote_scan(true)?;
                Ok(rebuilt)
            }
            err => Err(err),
        })
    })?;
    index.close()?;
    take_its_place(path)?;
    if rebuilt.recordings != 0 {
        log::warn!("the index was rebuilt: {} recordings found", rebuilt.recordings);
    }
    name_left_out(&rebuilt);
    Ok(Index::open(path)?)
}

fn name_left_out(rebuilt: &Rebuilt) {
    let left_out = rebuilt.unreadable.len() + rebuilt.incomplete.len() + rebuilt.unfiled.len();
    if left_out != 0 {
        log::warn!("{left_out} recordings are left out of the index; `scribefs fsck` names them");
    }
    if !rebuilt.salvaged.is_empty() {
        let count = rebuilt.salvaged.len();
        log::warn!(
            "{count} recordings have lost their metadata; filed again from their json pages"
        );
    }
    for (key, why) in &rebuilt.unreadable {
        log::debug!("{key}: left out of the index: {why}");
    }
    for key in &rebuilt.incomplete {
        log::debug!("{key}: left out of the index: its recording is missing");
    }
    for key in &rebuilt.salvaged {
        log::debug!("{key}: the metadata of its recording is lost; filed again from this page");
    }
    for key in &rebuilt.unfiled {
        log::debug!("{key}: left out of the index: its metadata and its json page are lost");
    }
}

fn fill_beside(
    path: &Path,
    old: Option<&Index>,
    fill: impl FnOnce(&Index) -> Result<Rebuilt, RebuildError>,
) -> Result<(Index, Rebuilt), DaemonError> {
    let unfinished = path.with_extension("redb.unfinished");
    match fs::remove_file(&unfinished) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            return Err(folder(&unfinished, err));
        }
        _ => {}
    }
    let index = Index::open(&unfinished)?;
    if let Some(old) = old {
        index.take_over(old)?;
    }
    let rebuilt = fill(&index)?;
    Ok((index, rebuilt))
}

fn take_its_place(path: &Path) -> Result<(), DaemonError> {
    let unfinished = path.with_extension("redb.unfinished");
    fs::rename(&unfinished, path).map_err(|source| folder(path, source))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    let done = synced.and_then(|()| index::rebuild_is_done(path));
    done.map_err(|source| folder(parent, source))
}

/// Fills an index from all places that are configured.
fn rebuild(
    local: &dyn Store,
    bucket: Option<&dyn Bucket>,
    index: &Index,
) -> Result<Rebuilt, RebuildError> {
    match bucket {
        Some(bucket) => upkeep::rebuild_with_bucket(local, bucket, index),
        None => upkeep::rebuild(local, index),
    }
}

fn folder(path: &Path, source: io::Error) -> DaemonError {
    DaemonError::Folder { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::model::{ConversationId, Destination, Job, JobId, JobState};
    use crate::store::StoreError;

    fn job(id: u64) -> Job {
        let at = "2024-01-15T10:02:00Z".parse().unwrap();
        Job {
            id: JobId(id),
            inbox: crate::model::InboxId(id),
            generation: 1,
            path: Vec::new(),
            bytes: 1,
            modified_ns: 0,
            conversation: ConversationId::new("standup").unwrap(),
            state: JobState::Queued,
            attempts: 0,
            recipe: None,
            created_at: at,
            updated_at: at,
            failure: None,
            remark: None,
            recording: None,
        }
    }

    #[test]
    fn of_those_who_find_no_index_at_once_one_makes_it_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let made = AtomicU32::new(0);
        let mount = || {
            let _locked = lock(&path).unwrap();
            if let Some(index) = sound_index(&path, Index::open).unwrap() {
                return index.close().unwrap();
            }
            let (index, _) = fill_beside(&path, None, |index| {
                // The others come while it is being filled.
                thread::sleep(LOOK * 3);
                index.set_note("recordings", "29")?;
                made.fetch_add(1, Ordering::Relaxed);
                Ok(Rebuilt::default())
            })
            .unwrap();
            index.close().unwrap();
            take_its_place(&path).unwrap();
        };
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(mount))));
        let index = sound_index(&path, Index::open).unwrap().unwrap();
        assert_eq!(index.note("recordings").unwrap().as_deref(), Some("29"));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_damaged_index_never_takes_the_place_of_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let names = ["index.redb.damaged", "index.redb.damaged-2", "index.redb.damaged-3"];
        for name in names {
            fs::write(&path, name).unwrap();
            assert!(sound_index(&path, Index::open).unwrap().is_none());
        }
        for name in names {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), name.as_bytes());
        }
    }

    #[test]
    fn an_index_that_is_made_anew_takes_the_old_ones_place_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let old = Index::open(&path).unwrap();
        old.save_job(job(7)).unwrap();
        let bucket = Destination::Bucket { place: "s3://talks/".to_owned() };
        old.set_destination(&bucket).unwrap();
        let at = "2024-01-15T10:02:00Z".parse().unwrap();
        let standup = ConversationId::new("standup").unwrap();
        let conversation = old.ensure_conversation(&standup, at).unwrap();

        let cut_off = fill_beside(&path, Some(&old), |_| {
            let source = "cut off".into();
            Err(StoreError::Unavailable { at: String::new(), source }.into())
        });
        assert!(cut_off.is_err());
        assert_eq!(old.ensure_conversation(&standup, at).unwrap(), conversation);
        old.close().unwrap();
        let old = Index::open(&path).unwrap();
        assert_eq!(old.job(JobId(7)).unwrap().unwrap(), job(7));

        let (new, _) = fill_beside(&path, Some(&old), |_| Ok(Rebuilt::default())).unwrap();
        new.close().unwrap();
        take_its_place(&path).unwrap();
        old.close().unwrap();
        let new = Index::open(&path).unwrap();
        assert_eq!(new.unfinished_jobs().unwrap(), [job(7)]);
        assert_eq!(new.next_job_id().unwrap(), JobId(8));
        assert_eq!(new.destination().unwrap(), bucket);
        // Numbers are never used again: inode numbers are made of them.
        let next = new.ensure_conversation(&standup, at).unwrap();
        assert!(conversation.seq < next.seq);
    }
}
