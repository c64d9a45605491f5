//! `Snapshots`: the text of each file of `.scribefs/`, held steady from the moment somebody asks for its size
//! until it has been read.
//!
//! Programs that copy a tree ask for the size first, open the file, read as many bytes and ask again: all of it
//! must be about one text. So a text that was asked about is kept until a reader closes the file, or for
//! [`STEADY`]. Whoever comes after that gets a new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::model::VirtualNode;

/// How long a text that nobody has read is kept. Copying programs open a file well within it.
const STEADY: Duration = Duration::from_secs(2);

/// The text of one file at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) text: Arc<[u8]>,
    /// Since when the text has been like this.
    pub(crate) modified: SystemTime,
}

#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    kept: Mutex<HashMap<VirtualNode, Kept>>,
}

#[derive(Debug)]
struct Kept {
    snapshot: Snapshot,
    taken: Instant,
    is_read: bool,
}

impl Snapshots {
    /// The text of `node`, from `write` where none is kept.
    pub(crate) fn get<E>(
        &self,
        node: VirtualNode,
        write: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Snapshot, E> {
        if let Some(kept) = self.lock().get(&node)
            && !kept.is_read
            && kept.taken.elapsed() < STEADY
        {
            return Ok(kept.snapshot.clone());
        }
        // Written without the lock: it asks the index and the spool.
        let text = write()?;
        let mut kept = self.lock();
        // The same text is the same file: what has been copied need not be copied again.
        let before = kept.get(&node).filter(|before| *before.snapshot.text == *text);
        let modified = before.map_or_else(SystemTime::now, |before| before.snapshot.modified);
        let snapshot = Snapshot { text: text.into(), modified };
        let taken = Instant::now();
        kept.insert(node, Kept { snapshot: snapshot.clone(), taken, is_read: false });
        Ok(snapshot)
    }

    /// A reader has closed the file.
    pub(crate) fn read(&self, node: VirtualNode) {
        if let Some(kept) = self.lock().get_mut(&node) {
            kept.is_read = true;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<VirtualNode, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_text_holds_from_the_first_question_until_it_is_read() {
        let snapshots = Snapshots::default();
        let get = |text: &str| {
            let text = text.as_bytes().to_vec();
            snapshots.get(VirtualNode::Status, || Ok::<_, Infallible>(text)).unwrap()
        };
        let first = get("one");
        assert_eq!(*get("two").text, *b"one");
        snapshots.read(VirtualNode::Status);
        let same = get("one");
        assert_eq!(same.modified, first.modified);
        snapshots.read(VirtualNode::Status);
        assert_eq!(*get("two").text, *b"two");
    }
}
