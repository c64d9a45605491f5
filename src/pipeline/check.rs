//! Whether index, local disk and bucket agree: every row has its objects where its placement says, and every
//! object has a row.

mod finding;
mod mend;
pub(crate) mod strangers;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use crate::model::{
    ConversationSeq, Day, Key, Object, PageKind, Placement, Recording, RecordingId,
};
use crate::pipeline::folders;
use crate::pipeline::stock::{self, Home, Stock, StockError};
use crate::store::Found;

pub use crate::pipeline::check::finding::{Fault, Finding, Where};
pub use crate::pipeline::check::mend::mend;

/// How closely objects are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// That they are there, and how large they are: one listing of each place.
    Sizes,
    /// All their bytes too, which are read (and, from a bucket, paid for).
    Contents,
}

/// What a check has seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checked {
    pub recordings: u64,
    /// In both places together.
    pub objects: u64,
    pub findings: Vec<Finding>,
}

/// Compares index, local disk and bucket. Changes nothing. `hear` is told of every recording before it is
/// looked at.
pub fn check(
    stock: Stock<'_>,
    depth: Depth,
    now: Timestamp,
    hear: &mut dyn FnMut(&Recording),
) -> Result<Checked, StockError> {
    let far = stock.far.map(|far| far.list("")).transpose()?;
    let staged = stock.near.list(Key::STAGED)?.into_iter().map(|found| found.key).collect();
    let near = sizes(stock.near.list("")?);
    let mut inspection =
        Inspection { stock, depth, staged, near, far: far.map(sizes), days: HashMap::new() };
    let mut checked = Checked {
        recordings: 0,
        objects: (inspection.near.len() + inspection.far.as_ref().map_or(0, BTreeMap::len)) as u64,
        findings: Vec::new(),
    };
    stock.each_recording(&mut |recording| {
        hear(&recording);
        checked.recordings += 1;
        inspection.recording(&recording, &mut checked.findings)
    })?;
    stock.each_transcript(&mut |transcript| {
        let day = inspection.days.get(&(transcript.conversation, transcript.day)).copied();
        // A day without recordings has lost them to the trash's end: its transcript goes with them.
        let Some(day) = day else { return Ok(()) };
        let far = day.is_settled && inspection.is_home_far();
        let duty = inspection.duty(&transcript.object, far);
        inspection.object(&transcript.object, duty, Some(day.last), &mut checked.findings)
    })?;
    inspection.strangers(now, &mut checked.findings)?;
    Ok(checked)
}

/// Where an object has to be.
#[derive(Debug, Clone, Copy)]
struct Duty {
    near: bool,
    far: bool,
}

/// What is known of a day when its recordings have been looked at.
#[derive(Debug, Clone, Copy)]
struct DaySeen {
    last: RecordingId,
    /// All its recordings are where they belong, and so is its transcript.
    is_settled: bool,
}

struct Inspection<'a> {
    stock: Stock<'a>,
    depth: Depth,
    /// Pages that are not at their keys yet.
    staged: HashSet<Key>,
    /// Objects that no row has claimed yet, and their sizes.
    near: BTreeMap<Key, u64>,
    far: Option<BTreeMap<Key, u64>>,
    days: HashMap<(ConversationSeq, Day), DaySeen>,
}

impl Inspection<'_> {
    fn is_home_far(&self) -> bool {
        self.far.is_some() && self.stock.home != Home::Disk
    }

    fn recording(
        &mut self,
        recording: &Recording,
        findings: &mut Vec<Finding>,
    ) -> Result<(), StockError> {
        let id = recording.id;
        let is_settled = recording.placement == Placement::Stored;
        let day = self.days.entry((id.conversation, id.day));
        let seen = day.or_insert(DaySeen { last: id, is_settled });
        *seen = DaySeen { last: id, is_settled: seen.is_settled && is_settled };
        let far = is_settled && self.is_home_far();
        for object in stock::objects(recording) {
            let duty = self.duty(object, far);
            self.object(object, duty, Some(id), findings)?;
        }
        // Pages that it has no more, or does not have yet, are its own all the same.
        for kind in PageKind::ALL {
            let page = recording.audio.key.page_beside(kind);
            self.near.remove(&page);
            self.far.as_mut().and_then(|far| far.remove(&page));
        }
        Ok(())
    }

    /// What is in the bucket whole may be missing on local disk, unless it is wanted there too: the first
    /// reader fetches it.
    fn duty(&self, object: &Object, far: bool) -> Duty {
        let there = self.far.as_ref().and_then(|far| far.get(&object.key));
        let is_enough = match self.stock.home {
            Home::Disk => false,
            Home::Bucket => there == Some(&object.bytes),
            // On its way, the audio may be the only part that has arrived.
            Home::Both => !far && there == Some(&object.bytes),
        };
        Duty { near: !is_enough, far }
    }

    /// Looks at one object in both places, and claims it there.
    fn object(
        &mut self,
        object: &Object,
        duty: Duty,
        recording: Option<RecordingId>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), StockError> {
        let near = self.near.remove(&object.key);
        let far = self.far.as_mut().and_then(|far| far.remove(&object.key));
        for (place, size, must) in [(Where::Disk, near, duty.near), (Where::Bucket, far, duty.far)]
        {
            // What is on its way may be old in the bucket; what is on disk is never old.
            let fault = match size {
                None if must => Some(Fault::Missing { place }),
                Some(found) if found != object.bytes && (must || place == Where::Disk) => {
                    Some(Fault::Size { place, found, expected: object.bytes })
                }
                Some(_) if must || place == Where::Disk => self.content(object, place)?,
                None | Some(_) => None,
            };
            // On its way to its place: readers find it where it is staged.
            let fault = fault.filter(|_| place == Where::Bucket || !self.is_staged(object));
            findings.extend(fault.map(|fault| Finding {
                key: object.key.clone(),
                fault,
                object: Some(object.clone()),
                recording,
            }));
        }
        Ok(())
    }

    fn is_staged(&self, object: &Object) -> bool {
        let staged = Object { key: object.key.staged(&object.blake3), ..object.clone() };
        self.staged.contains(&staged.key)
            && stock::hash_near(self.stock.near, &staged).is_ok_and(|it| it == object.blake3)
    }

    fn content(&self, object: &Object, place: Where) -> Result<Option<Fault>, StockError> {
        let hash = match (self.depth, place, self.stock.far) {
            (Depth::Contents, Where::Disk, _) => stock::hash_near(self.stock.near, object)?,
            (Depth::Contents, Where::Bucket, Some(far)) => stock::hash_far(far, object, None)?,
            _ => return Ok(None),
        };
        Ok((hash != object.blake3).then_some(Fault::Content { place }))
    }

    /// What no row has claimed.
    fn strangers(&mut self, now: Timestamp, findings: &mut Vec<Finding>) -> Result<(), StockError> {
        let near = std::mem::take(&mut self.near);
        let folders = folders::by_folder(near, self.far.take().unwrap_or_default());
        for folder in folders.values() {
            strangers::judge(self.stock, folder, now, &mut |finding| findings.push(finding))?;
        }
        Ok(())
    }
}

/// What is not filed by day is none of a recording's: housekeeping, or somebody else's.
fn sizes(found: Vec<Found>) -> BTreeMap<Key, u64> {
    let objects = found.into_iter().filter(|found| found.key.folder().is_some());
    objects.map(|found| (found.key, found.bytes)).collect()
}
