//! [`ChapterCache`]: chapters of days that were rendered lately, and those that are held until a day is rendered.
//!
//! What is held has a bound in memory. Beyond it a text is written to a file without a name ([`SpillFile`]), so that a day
//! of any length gets a whole transcript.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::store::{StagedFile, Store, StoreError};

/// Most bytes of chapters that are kept.
const KEPT_BYTES: usize = 8 << 20;

/// Most bytes of chapters that are held in memory: those of about a thousand hours of speech. Tests come beyond it with
/// less.
const HELD_BYTES: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// Chapters that are needed soon, until this is dropped.
#[derive(Default)]
#[must_use]
pub(crate) struct HeldChapters {
    names: Vec<String>,
    spill: Option<Arc<SpillFile>>,
}

impl HeldChapters {
    /// Whether somebody holds it already; then it is held here too.
    pub(crate) fn hold_again(&mut self, name: &str) -> bool {
        let is_held = cache().hold_again(name);
        if is_held {
            self.names.push(name.to_owned());
        }
        is_held
    }

    /// Holds a chapter, in a file on the store's disk where memory has no room for it.
    pub(crate) fn hold(
        &mut self,
        store: &dyn Store,
        name: String,
        text: &Arc<str>,
    ) -> Result<(), StoreError> {
        if !cache().hold(&name, text) {
            let spilled = self.spill(store, text)?;
            cache().hold_spilled(&name, spilled);
        }
        self.names.push(name);
        Ok(())
    }

    fn spill(&mut self, store: &dyn Store, text: &str) -> Result<SpilledText, StoreError> {
        let file = match &self.spill {
            Some(file) => file.clone(),
            None => {
                let file = SpillFile { staged: store.stage_new()?, end: Mutex::default() };
                self.spill.insert(Arc::new(file)).clone()
            }
        };
        let range = file.append(text).map_err(refused)?;
        Ok(SpilledText { file, range })
    }
}

impl Drop for HeldChapters {
    fn drop(&mut self) {
        let mut cache = cache();
        self.names.drain(..).for_each(|name| cache.let_go(&name));
    }
}

/// Texts one after the other, until nobody needs any of them.
#[derive(Debug)]
struct SpillFile {
    staged: StagedFile,
    /// Guards how many bytes were given out.
    end: Mutex<u64>,
}

impl SpillFile {
    fn append(&self, text: &str) -> io::Result<Range<u64>> {
        let range = {
            let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            let start = *end;
            *end += text.len() as u64;
            start..*end
        };
        self.staged.file().write_all_at(text.as_bytes(), range.start)?;
        Ok(range)
    }
}

/// A text in a [`SpillFile`].
#[derive(Debug, Clone)]
struct SpilledText {
    file: Arc<SpillFile>,
    range: Range<u64>,
}

impl SpilledText {
    fn read(&self) -> io::Result<Arc<str>> {
        let length = usize::try_from(self.range.end - self.range.start);
        let mut bytes = vec![0; length.map_err(|_| io::ErrorKind::OutOfMemory)?];
        self.file.staged.file().read_exact_at(&mut bytes, self.range.start)?;
        let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(text.into())
    }
}

fn refused(err: io::Error) -> StoreError {
    StoreError::Refused { at: "the text of a day".to_owned(), source: Box::new(err) }
}

#[derive(Debug, Clone)]
enum Text {
    InMemory(Arc<str>),
    Spilled(SpilledText),
}

/// A chapter by its name: what it was rendered from.
pub(crate) fn get(name: &str) -> Result<Option<Arc<str>>, StoreError> {
    let found = cache().get(name);
    Ok(match found {
        Some(Text::InMemory(text)) => Some(text),
        // Not while the cache is locked.
        Some(Text::Spilled(text)) => Some(text.read().map_err(refused)?),
        None => None,
    })
}

/// Keeps a chapter for whoever renders its day next.
pub(crate) fn keep(name: String, text: &Arc<str>) {
    cache().keep(name, text);
}

/// Chapters that were rendered lately, oldest first to go, and those that are held.
#[derive(Default)]
struct ChapterCache {
    kept: HashMap<String, Arc<str>>,
    order: VecDeque<String>,
    kept_bytes: usize,
    /// By how many.
    held: HashMap<String, (usize, Text)>,
    /// In memory.
    held_bytes: usize,
}

/// Guards [`ChapterCache`]. One for the process: a name stands for one text, whatever index it belongs to.
static CACHE: LazyLock<Mutex<ChapterCache>> = LazyLock::new(Mutex::default);

fn cache() -> MutexGuard<'static, ChapterCache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChapterCache {
    fn get(&self, name: &str) -> Option<Text> {
        let held = || self.held.get(name).map(|(_, text)| text.clone());
        self.kept.get(name).cloned().map(Text::InMemory).or_else(held)
    }

    fn hold_again(&mut self, name: &str) -> bool {
        let held = self.held.get_mut(name);
        held.map(|(count, _)| *count += 1).is_some()
    }

    /// Whether there was room for it.
    fn hold(&mut self, name: &str, text: &Arc<str>) -> bool {
        if self.hold_again(name) {
            return true;
        }
        if HELD_BYTES < self.held_bytes + text.len() {
            return false;
        }
        self.held_bytes += text.len();
        self.held.insert(name.to_owned(), (1, Text::InMemory(text.clone())));
        true
    }

    fn hold_spilled(&mut self, name: &str, text: SpilledText) {
        if !self.hold_again(name) {
            self.held.insert(name.to_owned(), (1, Text::Spilled(text)));
        }
    }

    fn let_go(&mut self, name: &str) {
        let Some((count, text)) = self.held.get_mut(name) else { return };
        *count -= 1;
        if *count == 0 {
            if let Text::InMemory(text) = text {
                self.held_bytes -= text.len();
            }
            self.held.remove(name);
        }
    }

    fn keep(&mut self, name: String, text: &Arc<str>) {
        if KEPT_BYTES / 4 < text.len() {
            return;
        }
        if self.kept.insert(name.clone(), text.clone()).is_none() {
            self.kept_bytes += text.len();
            self.order.push_back(name);
        }
        while KEPT_BYTES < self.kept_bytes {
            let Some(oldest) = self.order.pop_front() else { return };
            self.kept_bytes -= self.kept.remove(&oldest).map_or(0, |text| text.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn what_is_held_in_memory_has_a_bound_and_is_held_once() {
        let mut cache = ChapterCache::default();
        let text: Arc<str> = "x".repeat(HELD_BYTES / 8).into();
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let held =
            |cache: &mut ChapterCache| names.iter().take_while(|it| cache.hold(it, &text)).count();
        assert_eq!(held(&mut cache), 8);
        // Another one that reads the same day.
        assert_eq!(held(&mut cache), 8);
        for _ in 0..2 {
            assert!(cache.get("0").is_some());
            names[..8].iter().for_each(|name| cache.let_go(name));
        }
        assert!(cache.get("0").is_none());
        assert_eq!(held(&mut cache), 8);
    }

    #[test]
    fn what_has_no_room_in_memory_is_read_from_a_file_until_nobody_holds_it() {
        let store = MemoryStore::default();
        let texts: Vec<(String, Arc<str>)> = ["a", "b", "c"]
            .map(|letter| (format!("spilled {letter}"), letter.repeat(HELD_BYTES + 1).into()))
            .into();
        let (mut one, mut other) = (HeldChapters::default(), HeldChapters::default());
        for (name, text) in &texts {
            assert!(!one.hold_again(name));
            one.hold(&store, name.clone(), text).unwrap();
        }
        assert!(other.hold_again(&texts[0].0));
        let is_there = |(name, text): &(String, Arc<str>)| {
            let found = get(name).unwrap();
            assert!(found.is_none() || found.as_ref() == Some(text));
            found.is_some()
        };
        assert_eq!(texts.iter().map(is_there).collect::<Vec<_>>(), [true; 3]);
        drop(one);
        assert_eq!(texts.iter().map(is_there).collect::<Vec<_>>(), [true, false, false]);
        drop(other);
        assert!(!is_there(&texts[0]));
    }
}
