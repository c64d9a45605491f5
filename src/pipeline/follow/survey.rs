//! A listing of all that the bucket has: at first, and after so long that markers may have been missed.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::index::{Followed, Index, IndexError};
use crate::model::{ConversationSeq, Key, PageKind};
use crate::pipeline::follow::FollowError;
use crate::pipeline::follow::round::{Rounds, last_marker};
use crate::store::{Bucket, StoreError};

/// Keys of one listing: what S3 answers at most.
const PAGE: usize = 1000;

/// Conversations that are looked at together.
const CONVERSATIONS: usize = 200;

/// A listing that is under way.
pub(crate) struct Survey {
    /// From here on markers are heard afterwards: what changes behind the listing's back is among them.
    from: Followed,
    /// The last key that was listed.
    after: String,
    /// Metadata pages that are there.
    seen: BTreeSet<Key>,
}

impl Survey {
    pub(crate) fn begin(bucket: &dyn Bucket, now: Timestamp) -> Result<Self, StoreError> {
        let from = Followed { place: last_marker(bucket)?, asked_at: now };
        Ok(Self { from, after: String::new(), seen: BTreeSet::new() })
    }

    /// Lists on to the end, and says where to listen from then on.
    pub(crate) fn go_on(&mut self, rounds: &Rounds) -> Result<Followed, FollowError> {
        loop {
            let listed = rounds.with.bucket.list_after("", &self.after, PAGE)?;
            let pages: Vec<Key> =
                listed.iter().map(|found| &found.key).filter(|key| is_page(key)).cloned().collect();
            rounds.take(&pages)?;
            self.seen.extend(pages);
            match listed.last() {
                Some(last) => self.after = last.key.to_string(),
                None => break,
            }
            if listed.len() < PAGE {
                break;
            }
            if rounds.is_stopping() {
                return Err(FollowError::Stopped);
            }
        }
        let index = &rounds.with.index;
        rounds.forget(&self.unseen(index)?)?;
        index.set_followed(&self.from)?;
        Ok(self.from.clone())
    }

    /// Metadata pages that the index names and the bucket no longer has.
    fn unseen(&self, index: &Index) -> Result<Vec<Key>, IndexError> {
        let mut unseen = Vec::new();
        let mut look = |seq: ConversationSeq| {
            for day in index.filed_days(seq)? {
                for recording in index.filed_recordings(seq, day)? {
                    let page = recording.page(PageKind::Metadata).map(|page| &page.object.key);
                    unseen.extend(page.filter(|key| !self.seen.contains(key)).cloned());
                }
            }
            Ok::<_, IndexError>(())
        };
        for conversation in index.trashed_conversations()? {
            look(conversation.seq)?;
        }
        let mut after = ConversationSeq(0);
        loop {
            let some = index.conversations(after, CONVERSATIONS)?;
            let Some(last) = some.last() else { break };
            after = last.seq;
            for conversation in &some {
                look(conversation.seq)?;
            }
        }
        Ok(unseen)
    }
}

/// Whether it is the metadata page of a recording, at the place where such a page belongs.
pub(crate) fn is_page(key: &Key) -> bool {
    key.is_metadata() && key.folder().is_some()
}
