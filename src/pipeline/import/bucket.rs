//! The first system's tree in a bucket: brought to a folder day by day, so that no more room is needed than
//! one day takes.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use crate::model::{Day, Key};
use crate::pipeline::stock::StockError;
use crate::store::Bucket;

/// The objects of each day of each conversation. Names that are no keys (with blanks, say) cannot be seen.
pub fn days(bucket: &dyn Bucket) -> Result<Vec<Vec<Key>>, StockError> {
    let mut days: BTreeMap<(String, Day), Vec<Key>> = BTreeMap::new();
    for found in bucket.list("")? {
        if let Some((conversation, day)) = found.key.folder() {
            days.entry((conversation.to_owned(), day)).or_default().push(found.key);
        }
    }
    Ok(days.into_values().collect())
}

/// Brings a day's objects below `root`, where [`survey`](crate::pipeline::survey) finds them, each with the
/// time at which it was put.
pub fn fetch_day(bucket: &dyn Bucket, day: &[Key], root: &Path) -> Result<(), StockError> {
    for key in day {
        let path = root.join(key.as_str());
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        let mut file = File::create(&path)?;
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
