//! Whether index, local disk and bucket agree: every row has its objects where its placement says, and every
//! object has a row. They are read side by side, day by day in the order of keys.

mod finding;
mod repair;
pub(crate) mod unknown_objects;

use jiff::Timestamp;

use crate::index::RemovalDue;
use crate::model::{Object, Placement, Recording, RecordingId};
use crate::publishing::stores::{self, StorageTarget, Stores, StoresError};
use crate::upkeep::folders::{Folder, Folders, Sizes};

pub use crate::upkeep::check::finding::{Finding, Problem, Where};
pub use crate::upkeep::check::repair::mend;

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

/// How much a check has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub recordings: u64,
    /// In both places together.
    pub objects: u64,
}

/// Compares index, local disk and bucket. Changes nothing. `hear` is told of every recording before it is
/// looked at.
pub fn check(
    stores: Stores<'_>,
    depth: Depth,
    now: Timestamp,
    hear: &mut dyn FnMut(&Recording),
) -> Result<Checked, StoresError> {
    let mut findings = Vec::new();
    let Counts { recordings, objects } = inspect(stores, depth, now, hear, &mut |finding| {
        findings.push(finding);
        Ok::<_, StoresError>(())
    })?;
    Ok(Checked { recordings, objects, findings })
}

/// The same, and `found` is told of what was found in a day's folder before the next one is looked at. It may mend
/// what it is told of.
pub fn inspect<E: From<StoresError>>(
    stores: Stores<'_>,
    depth: Depth,
    now: Timestamp,
    hear: &mut dyn FnMut(&Recording),
    found: &mut dyn FnMut(Finding) -> Result<(), E>,
) -> Result<Counts, E> {
    let mut folders = Folders::of_all(stores);
    let removals = stores.index.removals_due().map_err(StoresError::from)?;
    let mut counts = Counts::default();
    while let Some(folder) = folders.next()? {
        counts.objects += (folder.local.len() + folder.remote.len()) as u64;
        let mut inspection = Inspection { stores, depth, folder, seen: None, findings: Vec::new() };
        counts.recordings += inspection.rows(hear)?;
        let Inspection { mut folder, mut findings, .. } = inspection;
        // What is still to be removed under former keys is nobody else's.
        for RemovalDue { recording, .. } in &removals {
            recording.objects().for_each(|object| folder.remove(&object.key));
            folder.remove_pages(recording);
        }
        unknown_objects::judge(stores, &folder, now, &mut |finding| findings.push(finding))?;
        findings.into_iter().try_for_each(&mut *found)?;
    }
    Ok(counts)
}

/// Where an object has to be.
#[derive(Debug, Clone, Copy)]
struct Duty {
    local: bool,
    remote: bool,
}

/// What is known of a day when its recordings have been looked at.
#[derive(Debug, Clone, Copy)]
struct DaySeen {
    last: RecordingId,
    /// All its recordings are where they belong, and so is its transcript.
    is_settled: bool,
}

/// Of one day.
struct Inspection<'a> {
    stores: Stores<'a>,
    depth: Depth,
    /// With objects that no row has claimed yet.
    folder: Folder,
    seen: Option<DaySeen>,
    findings: Vec<Finding>,
}

impl Inspection<'_> {
    /// Looks at all that the index has of the day. How many recordings those are.
    fn rows(&mut self, hear: &mut dyn FnMut(&Recording)) -> Result<u64, StoresError> {
        let Some((seq, day)) = self.folder.day else { return Ok(0) };
        let mut count = 0;
        self.stores.each_recording_of(seq, day, &mut |recording| {
            // It is being removed for good: some of it may have gone, and the mount removes the rest.
            if self.stores.index.filed_recording(recording.id)?.is_none() {
                recording.objects().for_each(|object| self.folder.remove(&object.key));
                self.folder.remove_pages(&recording);
                return Ok(());
            }
            hear(&recording);
            count += 1;
            self.recording(&recording)
        })?;
        let Some(transcript) = self.stores.index.filed_transcript(seq, day)? else {
            return Ok(count);
        };
        match self.seen {
            Some(DaySeen { last, is_settled }) => {
                let remote = is_settled && self.is_home_remote();
                let duty = self.duty(&transcript.object, remote);
                self.object(&transcript.object, duty, Some(last))?;
            }
            // It has lost its recordings to the trash's end, and its transcript goes with it.
            None => self.folder.remove(&transcript.object.key),
        }
        Ok(count)
    }

    fn is_home_remote(&self) -> bool {
        self.stores.remote.is_some() && self.stores.home != StorageTarget::Disk
    }

    fn recording(&mut self, recording: &Recording) -> Result<(), StoresError> {
        let id = recording.id;
        let is_settled = recording.placement == Placement::Stored;
        let was_settled = self.seen.is_none_or(|seen| seen.is_settled);
        self.seen = Some(DaySeen { last: id, is_settled: was_settled && is_settled });
        let remote = is_settled && self.is_home_remote();
        for object in recording.objects() {
            let duty = self.duty(object, remote);
            self.object(object, duty, Some(id))?;
        }
        self.folder.remove_pages(recording);
        Ok(())
    }

    /// What is in the bucket whole may be missing on local disk, unless it is wanted there too: the first
    /// reader fetches it.
    fn duty(&self, object: &Object, remote: bool) -> Duty {
        let is_there = self.folder.remote.get(&object.key) == Some(&object.bytes);
        let is_enough = match self.stores.home {
            StorageTarget::Disk => false,
            StorageTarget::Bucket => is_there,
            // On its way, the audio may be the only part that has arrived.
            StorageTarget::Both => !remote && is_there,
        };
        Duty { local: !is_enough, remote }
    }

    /// Looks at one object in both places, and claims it there.
    fn object(
        &mut self,
        object: &Object,
        duty: Duty,
        recording: Option<RecordingId>,
    ) -> Result<(), StoresError> {
        let take = |sizes: &mut Sizes| sizes.remove(&object.key);
        let (local, remote) = (take(&mut self.folder.local), take(&mut self.folder.remote));
        for (place, size, must) in
            [(Where::Disk, local, duty.local), (Where::Bucket, remote, duty.remote)]
        {
            // What is on its way may be old in the bucket; what is on disk is never old.
            let fault = match size {
                None if must => Some(Problem::Missing { place }),
                Some(found) if found != object.bytes && (must || place == Where::Disk) => {
                    Some(Problem::Size { place, found, expected: object.bytes })
                }
                Some(_) if must || place == Where::Disk => self.content(object, place)?,
                None | Some(_) => None,
            };
            // On its way to its place: readers find it where it is staged.
            let fault = fault.filter(|_| place == Where::Bucket || !self.is_staged(object));
            self.findings.extend(fault.map(|fault| Finding {
                key: object.key.clone(),
                fault,
                object: Some(object.clone()),
                recording,
            }));
        }
        Ok(())
    }

    /// Whether the page is not at its key yet.
    fn is_staged(&self, object: &Object) -> bool {
        let staged = Object { key: object.key.staged(&object.blake3), ..object.clone() };
        stores::hash_local(self.stores.local, &staged).is_ok_and(|it| it == object.blake3)
    }

    fn content(&self, object: &Object, place: Where) -> Result<Option<Problem>, StoresError> {
        let hash = match (self.depth, place, self.stores.remote) {
            (Depth::Contents, Where::Disk, _) => stores::hash_local(self.stores.local, object)?,
            (Depth::Contents, Where::Bucket, Some(remote)) => {
                stores::hash_remote(remote, object, None)?
            }
            _ => return Ok(None),
        };
        Ok((hash != object.blake3).then_some(Problem::Content { place }))
    }
}
