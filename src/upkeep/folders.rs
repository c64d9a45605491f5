//! [`Folders`]: the days of all conversations in the order of their keys, with what the index, local disk and the bucket
//! have of each. The three are read side by side, so that a million recordings take no more memory than one day.

use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;

use crate::index::{FiledDay, Index};
use crate::model::{ConversationSeq, Day, Key, Object, PageKind, Recording};
use crate::publishing::stores::{Stores, StoresError};
use crate::store::{Bucket, Found, Store, StoreError, Walk};

/// Days that are asked of the index at once.
const PAGE: usize = 500;

/// Sizes of objects by key.
pub(crate) type Sizes = BTreeMap<Key, u64>;

/// What lies in the folder of one day of a conversation.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    pub(crate) local: Sizes,
    pub(crate) remote: Sizes,
    /// As the index knows it.
    pub(crate) day: Option<(ConversationSeq, Day)>,
}

impl Folder {
    /// Whether either place has an object of that name and size.
    pub(crate) fn has(&self, object: &Object) -> bool {
        let is_right = |sizes: &Sizes| sizes.get(&object.key) == Some(&object.bytes);
        is_right(&self.local) || is_right(&self.remote)
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        self.local.remove(key);
        self.remote.remove(key);
    }

    /// Takes out pages that lie beside a recording's audio: those that it has no more, or does not have yet, are its
    /// own all the same.
    pub(crate) fn remove_pages(&mut self, recording: &Recording) {
        for kind in PageKind::ALL {
            self.remove(&recording.audio.key.page_beside(kind));
        }
    }

    /// Keys of both places, each once.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.local.keys().chain(self.remote.keys().filter(|key| !self.local.contains_key(*key)))
    }
}

/// Reads all of them, in order.
pub(crate) struct Folders<'a> {
    local: Place<'a>,
    remote: Option<Place<'a>>,
    days: Option<Days<'a>>,
}

impl<'a> Folders<'a> {
    /// Of the index and both places.
    pub(crate) fn of_all(stores: Stores<'a>) -> Self {
        let days = Days { index: stores.index, ahead: VecDeque::new(), rest: Rest::From(None) };
        Self { days: Some(days), ..Self::of_places(stores.local, stores.remote) }
    }

    /// Of the two places, whatever the index says.
    pub(crate) fn of_places(local: &'a dyn Store, remote: Option<&'a dyn Bucket>) -> Self {
        let remote = remote.map(|remote| Place::of(remote.walk()));
        Self { local: Place::of(local.walk()), remote, days: None }
    }

    /// `None`: that was the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Folder>, StoresError> {
        let local = self.local.next_folder()?;
        let remote = self.remote.as_mut().map(Place::next_folder).transpose()?.flatten();
        let day = self.days.as_mut().map(Days::next_folder).transpose()?.flatten();
        let Some(name) = local.into_iter().chain(remote).chain(day).min() else { return Ok(None) };
        Ok(Some(Folder {
            local: self.local.take(&name)?,
            remote: self
                .remote
                .as_mut()
                .map(|remote| remote.take(&name))
                .transpose()?
                .unwrap_or_default(),
            day: self.days.as_mut().and_then(|days| days.take(&name)),
        }))
    }
}

/// What one place has of recordings, in the order of keys.
struct Place<'a> {
    walk: Peekable<Walk<'a>>,
    /// The last key of all that was taken.
    last: Option<Key>,
}

impl<'a> Place<'a> {
    fn of(walk: Walk<'a>) -> Self {
        Self { walk: walk.peekable(), last: None }
    }

    /// The folder of the next object that is filed by day. What is not is housekeeping, or somebody else's.
    fn next_folder(&mut self) -> Result<Option<String>, StoreError> {
        loop {
            match self.walk.peek() {
                None => return Ok(None),
                Some(Ok(found)) if found.key.folder().is_some() => {
                    return Ok(Some(found.key.parent().to_owned()));
                }
                Some(_) => drop(self.step()?),
            }
        }
    }

    /// All objects of that folder, which is the next one or a later one.
    fn take(&mut self, folder: &str) -> Result<Sizes, StoreError> {
        let mut sizes = Sizes::new();
        while self.next_folder()?.is_some_and(|next| next == folder) {
            sizes.extend(self.step()?.map(|found| (found.key, found.bytes)));
        }
        Ok(sizes)
    }

    fn step(&mut self) -> Result<Option<Found>, StoreError> {
        let Some(found) = self.walk.next().transpose()? else { return Ok(None) };
        if self.last.as_ref().is_some_and(|last| found.key <= *last) {
            let source = "the store does not list its objects in order".into();
            return Err(StoreError::Refused { at: found.key.to_string(), source });
        }
        self.last = Some(found.key.clone());
        Ok(Some(found))
    }
}

/// Days that the index has, in the order of their folders.
struct Days<'a> {
    index: &'a Index,
    ahead: VecDeque<FiledDay>,
    rest: Rest,
}

/// What the index was not asked for yet.
enum Rest {
    From(Option<FiledDay>),
    Nothing,
}

impl Days<'_> {
    fn next_folder(&mut self) -> Result<Option<String>, StoresError> {
        if self.ahead.is_empty()
            && let Rest::From(after) = &self.rest
        {
            let days = self.index.filed_days_after(after.as_ref(), PAGE)?;
            self.rest = match days.last() {
                Some(last) => Rest::From(Some(last.clone())),
                None => Rest::Nothing,
            };
            self.ahead = days.into();
        }
        Ok(self.ahead.front().map(|day| day.folder.clone()))
    }

    fn take(&mut self, folder: &str) -> Option<(ConversationSeq, Day)> {
        if self.ahead.front()?.folder != folder {
            return None;
        }
        let day = self.ahead.pop_front()?;
        Some((day.conversation, day.day))
    }
}
