//! For tests: in which order files and folders were marked and brought to the disk.

use std::sync::Mutex;

use crate::spool::disk_id::DiskId;

/// What was done to which file, by all tests of this process.
static LOG: Mutex<Vec<(DiskId, String)>> = Mutex::new(Vec::new());

/// Of a mark only the first word is kept.
pub(crate) fn note(file: DiskId, what: &str) {
    let what = what.lines().next().unwrap_or_default().to_owned();
    LOG.lock().unwrap().push((file, what));
}

/// Where the log is now: earlier entries may be about files that are gone, whose numbers others have by now.
pub(crate) fn now() -> usize {
    LOG.lock().unwrap().len()
}

/// What was done since then to those that have a name here, in order: `name: what`.
pub(crate) fn since(then: usize, named: &[(&str, DiskId)]) -> Vec<String> {
    let log = LOG.lock().unwrap();
    let named = |id| named.iter().find(|(_, named)| *named == id).map(|(name, _)| *name);
    log[then..].iter().filter_map(|(id, what)| Some(format!("{}: {what}", named(*id)?))).collect()
}
