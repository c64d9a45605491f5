//! The first system's tree in a bucket: brought to a folder day by day, so that no more room is needed than
//! one day takes.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use crate::model::{Day, Key};
use crate::publishing::stores::StoresError;
use crate::store::{Bucket, Foreign};

/// Names beside the days' folders that are told of.
const NAMED: usize = 20;

/// A bucket does not say who may read an object: whom the mount lets in may, as for every recording of which nothing
/// is known. Nobody but us gets at the folder they are brought to.
const OPEN: u32 = 0o644;

/// What a bucket has to be imported.
#[derive(Debug, Default)]
pub struct BucketDays {
    /// The objects of each day of each conversation.
    pub days: Vec<Vec<Key>>,
    /// Names that cannot be taken over (with blanks, say), or that lie in no day's folder.
    pub passed_over: Foreign,
}

/// Lists all of it.
pub fn days(bucket: &dyn Bucket) -> Result<BucketDays, StoresError> {
    let mut days: BTreeMap<(String, Day), Vec<Key>> = BTreeMap::new();
    let mut elsewhere = Vec::new();
    // What others have listed before is not of this listing.
    bucket.take_foreign();
    for found in bucket.list("")? {
        let place = found.key.folder().map(|(conversation, day)| (conversation.to_owned(), day));
        match place {
            Some(place) => days.entry(place).or_default().push(found.key),
            None => elsewhere.push(found.key.to_string()),
        }
    }
    let mut passed_over = bucket.take_foreign();
    passed_over.count += elsewhere.len() as u64;
    passed_over.named.extend(elsewhere.into_iter().take(NAMED));
    Ok(BucketDays { days: days.into_values().collect(), passed_over })
}

/// Brings a day's objects below `root`, where [`survey`](crate::upkeep::survey) finds them, each with the
/// time at which it was put.
pub fn fetch_day(bucket: &dyn Bucket, day: &[Key], root: &Path) -> Result<(), StoresError> {
    for key in day {
        let path = root.join(key.as_str());
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        let mut file = File::create(&path)?;
        file.set_permissions(Permissions::from_mode(OPEN))?;
        let mut written = Ok(());
        bucket.stream_range(key, 0..u64::MAX, &mut |bytes| {
            written = file.write_all(&bytes);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        if let Some(at) = bucket.written_at(key)? {
            file.set_times(FileTimes::new().set_modified(SystemTime::from(at)))?;
        }
    }
    Ok(())
}
