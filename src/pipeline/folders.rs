//! [`Folder`]: what lies in the folder of one day of a conversation, on local disk and in the bucket.

use std::collections::BTreeMap;

use crate::model::{Key, Object, PageKind, Recording};

/// What lies in both places, by the folder that it lies in.
pub(crate) fn by_folder(near: Sizes, far: Sizes) -> BTreeMap<String, Folder> {
    let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
    let name = |key: &Key| key.as_str()[..key.as_str().len() - key.file_name().len()].to_owned();
    for (key, bytes) in near {
        folders.entry(name(&key)).or_default().near.insert(key, bytes);
    }
    for (key, bytes) in far {
        folders.entry(name(&key)).or_default().far.insert(key, bytes);
    }
    folders
}

/// Sizes of objects by key.
pub(crate) type Sizes = BTreeMap<Key, u64>;

/// Objects by key, with their sizes.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    pub(crate) near: BTreeMap<Key, u64>,
    pub(crate) far: BTreeMap<Key, u64>,
}

impl Folder {
    /// Whether either place has an object of that name and size.
    pub(crate) fn has(&self, object: &Object) -> bool {
        let is_right = |sizes: &BTreeMap<Key, u64>| sizes.get(&object.key) == Some(&object.bytes);
        is_right(&self.near) || is_right(&self.far)
    }

    /// Takes out what is a recording's own. Pages that it has no more, or does not have yet, are among it.
    pub(crate) fn claim(&mut self, recording: &Recording) {
        let pages = PageKind::ALL.map(|kind| recording.audio.key.page_beside(kind));
        let named = recording.objects().map(|object| &object.key);
        for key in named.chain(&pages) {
            self.near.remove(key);
            self.far.remove(key);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.near.is_empty() && self.far.is_empty()
    }

    /// Keys of both places, each once.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.near.keys().chain(self.far.keys().filter(|key| !self.near.contains_key(*key)))
    }
}
