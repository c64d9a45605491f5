//! Staged pages that no row names any more: what a writer that died has left, and what was staged again before it got
//! to its key.

use std::collections::HashSet;

use crate::index::{DueEntry, IndexError, PagesDue};
use crate::model::{Key, Object};
use crate::publishing::page_lock;
use crate::publishing::page_store::PageStore;

/// Entries that are asked for at once.
const BATCH: usize = 500;

/// Removes them. Nothing is staged for anybody just now but what is due.
pub(crate) fn sweep(page_store: PageStore<'_>) -> Result<(), IndexError> {
    let _alone = page_lock::lock();
    let needed = needed(page_store)?;
    let swept = page_store.store.list(Key::STAGED).and_then(|found| {
        let mut unneeded = found.iter().filter(|found| !needed.contains(&found.key));
        unneeded.try_for_each(|found| page_store.store.delete(&found.key))
    });
    if let Err(err) = swept {
        log::debug!("staged pages that nobody needs are left: {err}");
    }
    Ok(())
}

/// Keys of what is staged for pages that are due.
fn needed(page_store: PageStore<'_>) -> Result<HashSet<Key>, IndexError> {
    let index = page_store.index;
    let mut needed = HashSet::new();
    let mut after: Option<DueEntry> = None;
    loop {
        let entries = index.pages_due(after.as_ref(), BATCH)?;
        let Some(last) = entries.last() else { return Ok(needed) };
        after = Some(*last);
        for entry in entries {
            match entry.due {
                // Pages that were staged for it have entries of their own.
                PagesDue::Conversation(_) => {}
                PagesDue::Recording(id) => {
                    let recording = index.filed_recording(id)?;
                    needed.extend(recording.iter().flat_map(|it| it.objects()).map(staged));
                }
                PagesDue::Day(seq, day) => {
                    let transcript = index.filed_transcript(seq, day)?;
                    needed.extend(transcript.iter().map(|it| staged(&it.object)));
                }
            }
        }
    }
}

fn staged(object: &Object) -> Key {
    object.key.staged(&object.blake3)
}
