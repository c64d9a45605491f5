//! What the store holds is enough: the index made anew from the metadata pages, on local disk and in the
//! bucket.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::thread;

use jiff::Timestamp;

use crate::index::{Index, IndexError, PagesDue};
use crate::model::{DayTranscript, Key, Object, Page, PageKind, Placement, Recording};
use crate::publishing::stores::{self, StorageTarget, Stores, StoresError};
use crate::render;
use crate::store::{Bucket, Store, StoreError};
use crate::upkeep::check::{Finding, Problem, unknown_objects};
use crate::upkeep::folders::{Folder, Folders, Sizes};
use crate::upkeep::former_keys;
use crate::upkeep::salvage::{self, Rows};

/// Objects, in one place, of the days that share one commit: some 1,000 recordings.
const BATCH: usize = 6_000;

/// Metadata pages that are fetched from the bucket at once.
const FETCHED_AT_ONCE: usize = 16;

/// What a rebuild found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    pub recordings: u64,
    /// Metadata pages that could not be read, and why.
    pub unreadable: Vec<(Key, String)>,
    /// Recordings whose audio is not in the store with the right size.
    pub incomplete: Vec<Key>,
    /// Recordings that have pages which are not there with the right size: those are rendered again.
    pub torn: Vec<Key>,
    /// Json pages of recordings whose metadata is lost, which were filed by these alone.
    pub salvaged: Vec<Key>,
    /// Audio, and words without audio, of which nothing tells enough to file them. They stay where they are.
    pub unfiled: Vec<Key>,
}

impl Rebuilt {
    /// Metadata keys of what is in the store and not in the index.
    fn left_out(&self) -> Vec<Key> {
        let metadata = |key: &Key| key.page_of(key.recording_stem(), PageKind::Metadata);
        let told = self.unreadable.iter().map(|(key, _)| key).chain(&self.incomplete);
        told.chain(&self.unfiled).map(metadata).collect()
    }
}

/// Why a rebuild could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("the store could not be read")]
    Store(#[from] StoreError),
    #[error("the index could not be written")]
    Index(#[from] IndexError),
    #[error("the disk refused")]
    Disk(#[from] io::Error),
}

impl From<StoresError> for RebuildError {
    fn from(err: StoresError) -> Self {
        match err {
            StoresError::Store(err) => Self::Store(err),
            StoresError::Index(err) => Self::Index(err),
            StoresError::Disk(err) => Self::Disk(err),
            StoresError::Damaged { key } => Self::Store(StoreError::Missing { key }),
        }
    }
}

/// Forgets what the index says of recordings and fills it from the store. Jobs stay.
pub fn rebuild(store: &dyn Store, index: &Index) -> Result<Rebuilt, RebuildError> {
    Sources { local: store, bucket: None }.rebuild(index)
}

/// The same where recordings belong into a bucket. What is on local disk wins over what is there; what is not
/// there with the right size is brought there.
pub fn rebuild_with_bucket(
    local: &dyn Store,
    bucket: &dyn Bucket,
    index: &Index,
) -> Result<Rebuilt, RebuildError> {
    Sources { local, bucket: Some(bucket) }.rebuild(index)
}

struct Sources<'a> {
    local: &'a dyn Store,
    bucket: Option<&'a dyn Bucket>,
}

/// What there is of some days, by size.
#[derive(Default)]
struct Holdings {
    local: Sizes,
    remote: Sizes,
}

impl Sources<'_> {
    fn rebuild(&self, index: &Index) -> Result<Rebuilt, RebuildError> {
        let mut rebuilt = Rebuilt::default();
        let now = Timestamp::now();
        index.clear_recordings()?;
        let mut folders = Folders::of_places(self.local, self.bucket);
        let mut has_left = false;
        loop {
            let mut holdings = Holdings::default();
            let mut is_last = true;
            while let Some(folder) = folders.next()? {
                holdings.local.extend(folder.local);
                holdings.remote.extend(folder.remote);
                if BATCH <= holdings.local.len().max(holdings.remote.len()) {
                    is_last = false;
                    break;
                }
            }
            has_left |= self.file_by_metadata(index, &holdings, now, &mut rebuilt)?;
            if is_last {
                break;
            }
        }
        if has_left {
            self.file_by_json_pages(index, now, &mut rebuilt)?;
        }
        index.purge_again()?;
        // What lies in the store stays there, whether or not it can be read.
        index.reserve_keys(rebuilt.left_out())?;
        if rebuilt.recordings != 0 {
            index.set_rebuilt_at(now)?;
        }
        Ok(rebuilt)
    }

    fn stores<'a>(&'a self, index: &'a Index) -> Stores<'a> {
        Stores { local: self.local, remote: self.bucket, index, home: StorageTarget::Disk }
    }

    /// Files what the metadata pages of some days tell of. Whether anything else lies there.
    fn file_by_metadata(
        &self,
        index: &Index,
        holdings: &Holdings,
        now: Timestamp,
        rebuilt: &mut Rebuilt,
    ) -> Result<bool, RebuildError> {
        let mut told = Vec::new();
        let mut torn = Vec::new();
        let keys = holdings.keys().filter(|key| key.is_metadata()).collect::<Vec<_>>();
        let mut named: HashSet<Key> = HashSet::new();
        let pages = self.read_all(&keys, holdings)?;
        let transcripts = self.transcripts(&pages, holdings)?;
        for (key, json) in pages {
            let (rows, is_whole) = match read(key, &json, holdings, now) {
                Ok(read) => read,
                Err(Unfit::Unreadable(why)) => {
                    rebuilt.unreadable.push((key.clone(), why));
                    continue;
                }
                Err(Unfit::Incomplete) => {
                    rebuilt.incomplete.push(key.clone());
                    continue;
                }
            };
            let rows = self.placed(rows, holdings, &transcripts);
            named.extend(rows.1.objects().chain([&rows.2.object]).map(|object| object.key.clone()));
            if !is_whole {
                torn.push(rows.1.audio.key.clone());
                rebuilt.torn.push(key.clone());
            }
            let has_copy = self.bucket.is_some() && holdings.local.contains_key(&rows.1.audio.key);
            told.push((rows, has_copy));
        }
        let former = former_keys::take_former(&mut told, &|object| holdings.has(object));
        rebuilt.torn.retain(|key| former.iter().all(|it| it.metadata() != *key));
        rebuilt.recordings += told.len() as u64;
        index.adopt_with_copies(told, now)?;
        former_keys::owe_removal(self.stores(index), former)?;
        index.owe_pages(dues(index, &torn)?)?;
        Ok(holdings.keys().any(|key| !named.contains(key)))
    }

    /// Files recordings whose metadata is lost, as far as their json pages tell of them; the others are named.
    fn file_by_json_pages(
        &self,
        index: &Index,
        now: Timestamp,
        rebuilt: &mut Rebuilt,
    ) -> Result<(), RebuildError> {
        let stores = self.stores(index);
        let mut folders = Folders::of_all(stores);
        while let Some(mut folder) = folders.next()? {
            claim_all(stores, &mut folder)?;
            let mut strangers = Vec::new();
            // Whatever its age: nobody is at work here.
            unknown_objects::judge(stores, &folder, Timestamp::MAX, &mut |it| strangers.push(it))?;
            for stranger in strangers {
                self.file_by_json_page(stores, &folder, stranger, now, rebuilt)?;
            }
        }
        Ok(())
    }

    fn file_by_json_page(
        &self,
        stores: Stores<'_>,
        folder: &Folder,
        stranger: Finding,
        now: Timestamp,
        rebuilt: &mut Rebuilt,
    ) -> Result<(), RebuildError> {
        let key = stranger.key;
        match stranger.fault {
            Problem::Unindexed { .. } if !key.is_metadata() => {
                let Some((conversation, mut recording, transcript)) =
                    salvage::rows_at(stores, &key)?
                else {
                    rebuilt.unfiled.push(key);
                    return Ok(());
                };
                recording.placement = match self.bucket {
                    None => Placement::Stored,
                    Some(_) if folder.remote.contains_key(&recording.audio.key) => {
                        Placement::PagesChanged
                    }
                    Some(_) => Placement::Local,
                };
                let audio = &recording.audio.key;
                let has_copy = self.bucket.is_some() && folder.local.contains_key(audio);
                salvage::file(stores, (conversation, recording, transcript), has_copy, now)?;
                rebuilt.recordings += 1;
                rebuilt.salvaged.push(key);
            }
            Problem::OnlyCopy { .. } if unknown_objects::holds_recording(&key) => {
                rebuilt.unfiled.push(key);
            }
            // Named already, or somebody else's.
            _ => {}
        }
        Ok(())
    }

    /// The pages at `keys`; those that are in the bucket only, several at once.
    fn read_all<'k>(
        &self,
        keys: &[&'k Key],
        holdings: &Holdings,
    ) -> Result<Vec<(&'k Key, Vec<u8>)>, StoreError> {
        let is_here = |key: &&Key| self.bucket.is_none() || holdings.local.contains_key(*key);
        let (here, remote): (Vec<&Key>, Vec<&Key>) = keys.iter().partition(|key| is_here(key));
        let mut pages = Vec::new();
        for key in here {
            pages.push((key, self.local.get_range(key, 0..u64::MAX)?));
        }
        if let Some(bucket) = self.bucket {
            for some in remote.chunks(FETCHED_AT_ONCE) {
                pages.extend(fetch(bucket, some)?);
            }
        }
        Ok(pages)
    }

    /// The transcripts of the days that these pages are of, as they are now: each metadata page names the one of its
    /// own time.
    fn transcripts(
        &self,
        pages: &[(&Key, Vec<u8>)],
        holdings: &Holdings,
    ) -> Result<HashMap<Key, Object>, StoreError> {
        let told = pages.iter().filter_map(|(key, json)| render::from_metadata_at(key, json).ok());
        let keys: BTreeSet<Key> = told.map(|(.., transcript)| transcript.object.key).collect();
        let there: Vec<&Key> = keys.iter().filter(|key| holdings.contains(key)).collect();
        let texts = self.read_all(&there, holdings)?;
        Ok(texts
            .into_iter()
            .map(|(key, text)| (key.clone(), stores::object(key.clone(), &text)))
            .collect())
    }

    /// The rows with the transcript as it is now, and with the placement that follows from what is where.
    fn placed(
        &self,
        (conversation, mut recording, mut transcript): Rows,
        holdings: &Holdings,
        transcripts: &HashMap<Key, Object>,
    ) -> Rows {
        // One that is missing is written anew with the next recording of that day.
        if let Some(present) = transcripts.get(&transcript.object.key) {
            transcript.object = present.clone();
        }
        recording.placement = match self.bucket {
            None => Placement::Stored,
            Some(_) => holdings.placement(&recording, &transcript),
        };
        (conversation, recording, transcript)
    }
}

/// All at once.
fn fetch<'k>(bucket: &dyn Bucket, keys: &[&'k Key]) -> Result<Vec<(&'k Key, Vec<u8>)>, StoreError> {
    thread::scope(|scope| {
        let threads: Vec<_> = keys
            .iter()
            .map(|key| (*key, scope.spawn(|| bucket.get_range(key, 0..u64::MAX))))
            .collect();
        let pages = threads.into_iter().map(|(key, thread)| {
            let page = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            page.map(|json| (key, json))
        });
        pages.collect()
    })
}

impl Holdings {
    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.local.keys().chain(self.remote.keys().filter(|key| !self.local.contains_key(*key)))
    }

    fn has(&self, object: &Object) -> bool {
        let is_right = |sizes: &Sizes| sizes.get(&object.key) == Some(&object.bytes);
        is_right(&self.local) || is_right(&self.remote)
    }

    fn contains(&self, key: &Key) -> bool {
        self.local.contains_key(key) || self.remote.contains_key(key)
    }

    /// By size: whether two pages of one size differ is found out by `scribefs fsck --deep`.
    fn placement(&self, recording: &Recording, transcript: &DayTranscript) -> Placement {
        let is_remote = |object: &Object| self.remote.get(&object.key) == Some(&object.bytes);
        let mut pages = recording.pages.iter().map(|page| &page.object);
        match is_remote(&recording.audio) {
            false => Placement::Local,
            true if pages.all(is_remote) && is_remote(&transcript.object) => Placement::Stored,
            true => Placement::PagesChanged,
        }
    }
}

/// Takes out of a folder what the index names.
fn claim_all(stores: Stores<'_>, folder: &mut Folder) -> Result<(), StoresError> {
    let Some((seq, day)) = folder.day else { return Ok(()) };
    stores.each_recording_of(seq, day, &mut |recording| {
        recording.objects().for_each(|object| folder.remove(&object.key));
        folder.remove_pages(&recording);
        Ok(())
    })?;
    if let Some(transcript) = stores.index.filed_transcript(seq, day)? {
        folder.remove(&transcript.object.key);
    }
    Ok(())
}

/// Why a metadata page gives no row.
enum Unfit {
    Unreadable(String),
    Incomplete,
}

/// The rows of a metadata page, and whether all pages are there.
fn read(
    key: &Key,
    json: &[u8],
    holdings: &Holdings,
    now: Timestamp,
) -> Result<(Rows, bool), Unfit> {
    let (mut conversation, mut recording, transcript) =
        render::from_metadata_at(key, json).map_err(Unfit::Unreadable)?;
    // What this index has not seen put into the trash stays there as if it had been put there now.
    conversation.trashed_at = conversation.trashed_at.map(|_| now);
    recording.overlay.trashed_at = recording.overlay.trashed_at.map(|_| now);
    // The metadata page is the one that was just read: it cannot name its own size.
    recording.pages.retain(|page| page.kind != PageKind::Metadata);
    if !holdings.has(&recording.audio) {
        return Err(Unfit::Incomplete);
    }
    let is_whole = recording.pages.iter().all(|page| holdings.has(&page.object))
        && holdings.contains(&transcript.object.key);
    let written_at = recording.pages.iter().filter_map(|page| page.written_at).max();
    let object = stores::object(key.clone(), json);
    recording.pages.push(Page { kind: PageKind::Metadata, object, written_at });
    Ok(((conversation, recording, transcript), is_whole))
}

/// Pages that are to be rendered again, of the recordings with audio at `keys`.
fn dues(index: &Index, keys: &[Key]) -> Result<Vec<PagesDue>, IndexError> {
    let mut dues = Vec::new();
    for key in keys {
        let recording = index.filed_recording_at(key)?;
        dues.extend(recording.map(|recording| PagesDue::Recording(recording.id)));
    }
    Ok(dues)
}
