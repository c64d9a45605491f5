//! What lies in a day's folder and no row names: recordings that the index lacks, what is left over from others, and
//! what stays because there is no other copy of it.
//!
//! Files that share a stem belong to one recording and are judged together, wherever they lie.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Key, Object, PageKind, Recording, StateRole};
use crate::publishing::stores::{self, Stores, StoresError};
use crate::render;
use crate::store::{ObjectFacts, Store, StoreError};
use crate::upkeep::check::finding::{Finding, Problem, Where};
use crate::upkeep::folders::Folder;
use crate::upkeep::{copies, salvage};

/// Objects that nothing names are left alone for so long: somebody may be about to name them. Recordings are named
/// before, but not removed.
const YOUNG: SignedDuration = SignedDuration::from_hours(1);

/// Says what is to be said of everything in a folder that no row names.
pub(crate) fn judge(
    stores: Stores<'_>,
    folder: &Folder,
    now: Timestamp,
    found: &mut dyn FnMut(Finding),
) -> Result<(), StoresError> {
    let mut stems: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
    for key in folder.keys().filter(|key| !key.is_transcript()) {
        stems.entry(key.recording_stem()).or_default().push(key);
    }
    let judging = Judging { stores, folder, now };
    let (mut is_touched, mut left) = (false, Vec::new());
    for keys in stems.into_values() {
        match judging.verdict(&keys)? {
            Verdict::Recording { page, place } => {
                found(Finding::of_stranger(page, Problem::Unindexed { place }));
                is_touched = true;
            }
            Verdict::Strange { page, place } => {
                found(Finding::of_stranger(page, Problem::Strange { place }));
                is_touched = true;
            }
            Verdict::Left { about } => {
                left.extend(keys.into_iter().map(|key| (key, about.clone())))
            }
        }
    }
    left.extend(folder.keys().filter(|key| key.is_transcript()).map(|key| (key, None)));
    for (key, about) in left {
        // What lies beside such metadata may be what it names, and the transcript is its day's. A recording that nobody
        // names is named all the same.
        if !is_touched || holds_recording(key) {
            judging.left(key, about.as_deref(), is_touched, found)?;
        }
    }
    Ok(())
}

/// Whether it is an original, or the words of one.
pub(crate) fn holds_recording(key: &Key) -> bool {
    !key.is_page() || *key == key.page_of(key.recording_stem(), PageKind::Json)
}

/// What becomes of the files that share a stem.
enum Verdict {
    /// A recording that can be filed: by that page.
    Recording { page: Key, place: Where },
    /// Metadata that cannot be used.
    Strange { page: Key, place: Where },
    /// No recording of their own. `about`: BLAKE3 of the one that the pages are about, where that is known.
    Left { about: Option<String> },
}

struct Judging<'a> {
    stores: Stores<'a>,
    folder: &'a Folder,
    now: Timestamp,
}

impl Judging<'_> {
    fn verdict(&self, keys: &[&Key]) -> Result<Verdict, StoresError> {
        let page = |suffix: PageKind| {
            keys.iter().find(|key| key.file_name().ends_with(suffix.suffix())).copied()
        };
        let metadata = page(PageKind::Metadata);
        let json = keys
            .iter()
            .find(|key| key.file_name().ends_with(PageKind::Json.suffix()) && !key.is_metadata());
        if let Some(page) = metadata
            && let Some(verdict) = self.of_metadata(page)?
        {
            return Ok(verdict);
        }
        let Some(json) = json else { return Ok(Verdict::Left { about: None }) };
        let Some(source) = salvage::source_at(self.stores, json)? else {
            return Ok(Verdict::Left { about: None });
        };
        let about = Some(source.blake3.clone());
        let is_known_here = self.is_known_here(&source.blake3, json)?;
        if is_known_here || self.is_young(json)? {
            return Ok(Verdict::Left { about });
        }
        for audio in keys.iter().filter(|key| !key.is_page()) {
            let audio = Object {
                key: (*audio).clone(),
                bytes: source.bytes,
                blake3: source.blake3.clone(),
            };
            if self.folder.has(&audio)
                && copies::is_there(self.stores, &audio)?
                && !self.is_young(&audio.key)?
            {
                let place = self.place_of(json);
                return Ok(Verdict::Recording { page: (*json).clone(), place });
            }
        }
        Ok(Verdict::Left { about })
    }

    /// `None`: the page is as good as lost.
    fn of_metadata(&self, page: &Key) -> Result<Option<Verdict>, StoresError> {
        let place = self.place_of(page);
        let strange = Some(Verdict::Strange { page: page.clone(), place });
        let Some(recording) = self.read_metadata(page)? else {
            let is_empty = |sizes: &BTreeMap<Key, u64>| sizes.get(page).is_none_or(|it| *it == 0);
            let is_empty = is_empty(&self.folder.local) && is_empty(&self.folder.remote);
            return Ok(if is_empty { None } else { strange });
        };
        if self.folder.has(&recording.audio) {
            return Ok(Some(Verdict::Recording { page: page.clone(), place }));
        }
        let about = recording.audio.blake3;
        match copies::are_words_kept(self.stores, &about)? {
            true => Ok(Some(Verdict::Left { about: Some(about) })),
            false => Ok(strange),
        }
    }

    /// The recording that the metadata page of either place tells of.
    fn read_metadata(&self, page: &Key) -> Result<Option<Recording>, StoresError> {
        let Stores { local, remote, .. } = self.stores;
        for json in [
            Some(local.get_range(page, 0..u64::MAX)),
            remote.map(|remote| remote.get_range(page, 0..u64::MAX)),
        ] {
            let json = match json {
                None | Some(Err(StoreError::Missing { .. })) => continue,
                Some(json) => json?,
            };
            if let Ok((_, recording, _)) = render::from_metadata_at(page, &json) {
                return Ok(Some(recording));
            }
        }
        Ok(None)
    }

    /// Whether a recording of this folder has these bytes already.
    fn is_known_here(&self, blake3: &str, key: &Key) -> Result<bool, StoresError> {
        let known = self.stores.index.recordings_with_audio(blake3)?;
        Ok(known.iter().any(|it| it.audio.key.folder() == key.folder()))
    }

    /// What is left over: an orphan where there is another copy of what it is or what it tells of.
    fn left(
        &self,
        key: &Key,
        about: Option<&str>,
        is_touched: bool,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), StoresError> {
        for (place, store) in self.places_with(key) {
            let facts = match store.facts(key) {
                // It has gone meanwhile.
                Err(StoreError::Missing { .. }) => continue,
                facts => facts?,
            };
            let is_old = is_old(&facts, self.now);
            let fault = if !facts.is_ours {
                Problem::Foreign { place }
            } else if !(is_old || holds_recording(key) && self.is_alone()?) {
                continue;
            } else if !self.is_kept(key, place, &facts, about)? {
                Problem::OnlyCopy { place }
            } else {
                Problem::Orphan { place }
            };
            let is_loss = matches!(fault, Problem::OnlyCopy { .. });
            if !is_loss && (is_touched || !is_old && facts.is_ours) {
                continue;
            }
            found(Finding::of_stranger(key.clone(), fault));
        }
        Ok(())
    }

    /// Whether whoever files recordings here has this index, and does nothing now: what a follower finds in the bucket,
    /// somebody else may be about to name.
    fn is_alone(&self) -> Result<bool, StoresError> {
        Ok(self.stores.index.role()? != Some(StateRole::Follower))
    }

    fn is_kept(
        &self,
        key: &Key,
        place: Where,
        facts: &ObjectFacts,
        about: Option<&str>,
    ) -> Result<bool, StoresError> {
        if key.is_page() {
            let about = about.or(facts.recording.as_deref());
            return about.map_or(Ok(false), |about| copies::are_words_kept(self.stores, about));
        }
        match self.hash(key, place)? {
            Some(hash) => copies::is_audio_kept(self.stores, &hash),
            None => Ok(false),
        }
    }

    /// BLAKE3 of what is there.
    fn hash(&self, key: &Key, place: Where) -> Result<Option<String>, StoresError> {
        let object = Object { key: key.clone(), bytes: 0, blake3: String::new() };
        let hash = match (place, self.stores.remote) {
            (Where::Disk, _) => stores::hash_local(self.stores.local, &object),
            // Other programs put other bytes under our labels, and these may be nowhere else.
            (Where::Bucket, Some(remote)) => stores::hash_remote(remote, &object, None),
            (Where::Bucket, None) => return Ok(None),
        };
        match hash {
            Ok(hash) => Ok(Some(hash)),
            Err(StoresError::Store(StoreError::Missing { .. })) => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn is_young(&self, key: &Key) -> Result<bool, StoresError> {
        for (_, store) in self.places_with(key) {
            if is_old(&store.facts(key)?, self.now) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn places_with(&self, key: &Key) -> impl Iterator<Item = (Where, &dyn Store)> {
        let local = self.folder.local.contains_key(key).then_some((Where::Disk, self.stores.local));
        let remote = self.stores.remote.filter(|_| self.folder.remote.contains_key(key));
        local.into_iter().chain(remote.map(|remote| (Where::Bucket, remote as &dyn Store)))
    }

    fn place_of(&self, key: &Key) -> Where {
        if self.folder.local.contains_key(key) { Where::Disk } else { Where::Bucket }
    }
}

/// Whether an object that nothing names has been there for long. One whose age nobody knows counts as young.
fn is_old(facts: &ObjectFacts, now: Timestamp) -> bool {
    facts.written_at.is_some_and(|at| YOUNG <= now.duration_since(at))
}
