//! [`PageStore`]: pages in the store, and how new ones take the place of old ones.
//!
//! A page that somebody may be reading is never put over another at once. It is staged under a name made of its
//! key and its hash, the index is told its size and hash, and only then it is moved to its key. Readers look for
//! the staged one first, so at every moment they find what the index says, whole.

use crate::index::Index;
use crate::model::{Key, Object, PageKind, Recipe, Recording, Talk};
use crate::render;
use crate::store::{Store, StoreError};

/// Where pages are kept, and where it is written what there is.
#[derive(Clone, Copy)]
pub(crate) struct PageStore<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) index: &'a Index,
}

/// A page that is rendered and written nowhere yet.
pub(crate) struct Draft {
    pub(crate) object: Object,
    bytes: Vec<u8>,
}

impl Draft {
    pub(crate) fn new(key: Key, bytes: Vec<u8>) -> Self {
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        Self { object: Object { key, bytes: bytes.len() as u64, blake3 }, bytes }
    }
}

impl PageStore<'_> {
    /// Writes a page to its key, where nobody expects one yet.
    pub(crate) fn put(self, draft: &Draft) -> Result<(), StoreError> {
        self.store.put(&draft.object.key, &draft.bytes)
    }

    /// Writes a page beside the one that is there. It counts as soon as the index names it.
    pub(crate) fn stage(self, draft: &Draft) -> Result<(), StoreError> {
        self.store.put(&staged(&draft.object), &draft.bytes)
    }

    /// Moves a page that the index names to its key, if it is staged. Cut off anywhere, it can be done again.
    pub(crate) fn install(self, object: &Object) -> Result<(), StoreError> {
        let staged = staged(object);
        match whole(self.store, &staged)? {
            Some(bytes) if is(object, &bytes) => self.store.rename(&staged, &object.key),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn discard_staged(self, object: &Object) -> Result<(), StoreError> {
        self.store.delete(&staged(object))
    }

    /// The page that the index names; `None` where it is missing or something else lies there.
    pub(crate) fn read(self, object: &Object) -> Result<Option<Vec<u8>>, StoreError> {
        for key in [&staged(object), &object.key] {
            if let Some(bytes) = whole(self.store, key)?
                && is(object, &bytes)
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Whether anything is on local disk where the page would be read: then no bucket is asked for it.
    pub(crate) fn is_here(self, object: &Object) -> Result<bool, StoreError> {
        Ok(self.store.is_taken(object.key.as_str())?
            || self.store.is_taken(staged(object).as_str())?)
    }

    /// The page that the index names, if local disk has it.
    pub(crate) fn read_here(self, object: &Object) -> Result<Option<Vec<u8>>, StoreError> {
        if self.is_here(object)? { self.read(object) } else { Ok(None) }
    }

    /// What was said in a published recording, from its json page; `None` where that is not readable.
    ///
    /// A page of another revision is as good, if it is of the same recording: a writer that died between the
    /// store and the index leaves one, and what was said is the same in all of them.
    pub(crate) fn read_talk(
        self,
        recording: &Recording,
    ) -> Result<Option<(Talk, Recipe)>, StoreError> {
        let Some(page) = recording.page(PageKind::Json) else { return Ok(None) };
        if let Some(json) = self.read(&page.object)? {
            return Ok(render::talk_from_json(&json).ok());
        }
        let Some(json) = whole(self.store, &page.object.key)? else { return Ok(None) };
        let is_same = render::audio_of_json(&json).is_some_and(|it| it == recording.audio.blake3);
        Ok(render::talk_from_json(&json).ok().filter(|_| is_same))
    }
}

/// Whether these are the bytes of that object.
pub(crate) fn is(object: &Object, bytes: &[u8]) -> bool {
    bytes.len() as u64 == object.bytes && blake3::hash(bytes).to_hex().as_str() == object.blake3
}

fn staged(object: &Object) -> Key {
    object.key.staged(&object.blake3)
}

fn whole(store: &dyn Store, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
    match store.get_range(key, 0..u64::MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(err) => Err(err),
    }
}
