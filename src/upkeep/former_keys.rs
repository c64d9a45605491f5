//! [`Former`]: a recording that is found a second time, under the keys that it had before it was given others.
//!
//! What is left there is not removed at once. Whoever reads the store without knowing of that must not take it for
//! another recording.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::index::{Index, IndexError, RemovalDue};
use crate::model::{Key, Object, PageKind, Recording};
use crate::publishing::stores::{Stores, StoresError};
use crate::upkeep::copies;
use crate::upkeep::salvage::Rows;

/// What a recording has left under former keys.
pub(crate) struct Former {
    recording: Recording,
    /// The key of the audio that it has now.
    present: Key,
}

impl Former {
    pub(crate) fn metadata(&self) -> Key {
        self.recording.audio.key.page_beside(PageKind::Metadata)
    }
}

/// What a recording keeps when it is given other keys, and shares with no other one: its folder, its number there, its
/// bytes, and when it was published.
type Identity = (String, u16, String, Timestamp);

fn identity(recording: &Recording) -> Identity {
    let (key, blake3) = (&recording.audio.key, recording.audio.blake3.clone());
    (key.parent().to_owned(), recording.id.number, blake3, recording.published_at)
}

/// Takes those out that are there a second time. The one that was written last stays, if its words are there.
/// `is_there`: whether the store has that object.
pub(crate) fn take_former(
    found: &mut Vec<(Rows, bool)>,
    is_there: &dyn Fn(&Object) -> bool,
) -> Vec<Former> {
    let rank = |it: &Recording| {
        (it.page(PageKind::Json).is_some_and(|page| is_there(&page.object)), it.revision)
    };
    let mut present: HashMap<Identity, ((bool, u32), Key)> = HashMap::new();
    for ((_, recording, _), _) in &*found {
        let this = (rank(recording), recording.audio.key.clone());
        let best = present.entry(identity(recording)).or_insert_with(|| this.clone());
        if best.0 < this.0 {
            *best = this;
        }
    }
    let mut former = Vec::new();
    found.retain(|((_, recording, _), _)| {
        let present = present.get(&identity(recording)).map(|(_, key)| key.clone());
        let other = present.filter(|present| *present != recording.audio.key);
        let is_present = other.is_none();
        former.extend(other.map(|present| Former { recording: recording.clone(), present }));
        is_present
    });
    former
}

/// Takes those out that the bucket has of recordings which the index has under later keys, and notes that they are to
/// be removed there.
pub(crate) fn leave_former(index: &Index, found: &mut Vec<Rows>) -> Result<(), IndexError> {
    let (mut others, mut dues) = (Vec::new(), Vec::new());
    for rows in found.drain(..) {
        let recording = &rows.1;
        let known = index.recordings_with_audio(&recording.audio.blake3)?;
        let is_later = |it: &Recording| {
            recording.revision < it.revision && identity(it) == identity(recording)
        };
        match known.into_iter().find(is_later) {
            Some(present) => {
                let recording = Recording { id: present.id, ..rows.1 };
                dues.push(RemovalDue { recording, is_here: false, is_in_bucket: true });
            }
            None => others.push(rows),
        }
    }
    *found = others;
    if dues.is_empty() { Ok(()) } else { index.owe_removals(dues) }
}

/// Notes that they are to be removed, where the recordings, which are in the index, have their audio.
pub(crate) fn owe_removal(stores: Stores<'_>, former: Vec<Former>) -> Result<(), StoresError> {
    let mut dues = Vec::new();
    for Former { recording, present } in former {
        let Some(present) = stores.index.filed_recording_at(&present)? else { continue };
        if !copies::is_there(stores, &present.audio)? {
            log::warn!("{}: is damaged; its former name has its audio", present.id);
            log::debug!("{}: is damaged; {} has its audio", present.audio.key, recording.audio.key);
            continue;
        }
        let recording = Recording { id: present.id, ..recording };
        let is_in_bucket = stores.remote.is_some();
        dues.push(RemovalDue { recording, is_here: true, is_in_bucket });
    }
    if dues.is_empty() { Ok(()) } else { Ok(stores.index.owe_removals(dues)?) }
}
