//! Whether index, local disk and bucket agree: every row has its objects where its placement says, and every
//! object has a row.

mod mend;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::model::{ConversationSeq, Day, Key, Object, Placement, Recording, RecordingId};
use crate::pipeline::stock::{self, Home, Stock, StockError};
use crate::store::{Found, ObjectFacts, Store, StoreError};

pub use crate::pipeline::check::mend::mend;

/// Objects that nothing names are left alone for so long: somebody may be about to name them.
const YOUNG: SignedDuration = SignedDuration::from_hours(1);

/// How closely objects are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// That they are there, and how large they are: one listing of each place.
    Sizes,
    /// All their bytes too, which are read (and, from a bucket, paid for).
    Contents,
}

/// One of the two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    Disk,
    Bucket,
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "on local disk",
            Self::Bucket => "in the bucket",
        })
    }
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// It should be there and is not, or not whole.
    Missing {
        place: Where,
    },
    Size {
        place: Where,
        found: u64,
        expected: u64,
    },
    /// It has the right size and other bytes.
    Content {
        place: Where,
    },
    /// Metadata of a whole recording that the index does not know.
    Unindexed {
        place: Where,
    },
    /// Metadata that the index does not know, and that cannot be read or names what is not there.
    Strange {
        place: Where,
    },
    /// No row names it, and no metadata beside it might.
    Orphan {
        place: Where,
    },
    /// It lies where recordings are filed, and scribefs has not put it there. It is none of our business.
    Foreign {
        place: Where,
    },
}

impl Fault {
    fn place(&self) -> Where {
        match self {
            Self::Missing { place }
            | Self::Size { place, .. }
            | Self::Content { place }
            | Self::Unindexed { place }
            | Self::Strange { place }
            | Self::Orphan { place }
            | Self::Foreign { place } => *place,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        match self {
            Self::Missing { .. } => write!(f, "missing {place}"),
            Self::Size { found, expected, .. } => {
                write!(f, "{place} it has {found} bytes, and should have {expected}")
            }
            Self::Content { .. } => write!(f, "{place} its bytes are not the published ones"),
            Self::Unindexed { .. } => {
                write!(f, "{place} there is a recording that the index lacks")
            }
            Self::Strange { .. } => {
                write!(f, "{place} it cannot be read, or names files that are not there")
            }
            Self::Orphan { .. } => write!(f, "{place} no recording names it"),
            Self::Foreign { .. } => write!(f, "{place} scribefs has not put it there"),
        }
    }
}

/// Something that does not agree.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Finding {
    pub key: Key,
    #[serde(flatten)]
    pub fault: Fault,
    /// As the index has it; `None` where the index does not know the object.
    #[serde(skip)]
    pub object: Option<Object>,
    /// A recording whose way to the bucket would mend it.
    #[serde(skip)]
    pub recording: Option<RecordingId>,
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

    /// What no row has claimed: whole recordings that the index lacks, and orphans that are not young.
    fn strangers(&mut self, now: Timestamp, findings: &mut Vec<Finding>) -> Result<(), StockError> {
        let near = std::mem::take(&mut self.near);
        strangers_in(self.stock.near, Where::Disk, near, now, findings)?;
        match (self.stock.far, self.far.take()) {
            (Some(far), Some(left)) => strangers_in(far, Where::Bucket, left, now, findings),
            _ => Ok(()),
        }
    }
}

fn strangers_in<S: Store + ?Sized>(
    store: &S,
    place: Where,
    mut left: BTreeMap<Key, u64>,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) -> Result<(), StockError> {
    let mut found = |key: Key, fault: Fault| {
        findings.push(Finding { key, fault, object: None, recording: None });
    };
    let pages: Vec<Key> = left.keys().filter(|key| key.is_metadata()).cloned().collect();
    for key in pages {
        match mend::whole_recording(store, &key, &left)? {
            Some(named) => {
                for key in &named {
                    left.remove(key);
                }
                found(key, Fault::Unindexed { place });
            }
            // What lies beside it may be what it names: nothing there is taken for an orphan.
            None => {
                for other in beside(&left, &key) {
                    left.remove(&other);
                }
                found(key, Fault::Strange { place });
            }
        }
    }
    for key in left.into_keys() {
        let facts = match store.facts(&key) {
            // It has gone meanwhile.
            Err(StoreError::Missing { .. }) => continue,
            facts => facts?,
        };
        if !facts.is_ours {
            found(key, Fault::Foreign { place });
        } else if is_old(&facts, now) {
            found(key, Fault::Orphan { place });
        }
    }
    Ok(())
}

/// Everything that lies in the folder of a key.
fn beside(left: &BTreeMap<Key, u64>, key: &Key) -> Vec<Key> {
    let folder = key.as_str().trim_end_matches(key.file_name());
    let Some(first) = Key::new(folder.trim_end_matches('/')) else { return Vec::new() };
    let others = left.range(first.clone()..).map(|(other, _)| other);
    let others = others.take_while(|other| other.as_str().starts_with(first.as_str()));
    others.filter(|other| other.folder() == key.folder()).cloned().collect()
}

/// What is not filed by day is none of a recording's: housekeeping, or somebody else's.
fn sizes(found: Vec<Found>) -> BTreeMap<Key, u64> {
    let objects = found.into_iter().filter(|found| found.key.folder().is_some());
    objects.map(|found| (found.key, found.bytes)).collect()
}

/// Whether an object that nothing names has been there for long. One whose age nobody knows counts as young.
fn is_old(facts: &ObjectFacts, now: Timestamp) -> bool {
    facts.written_at.is_some_and(|at| YOUNG <= now.duration_since(at))
}
