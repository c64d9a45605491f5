//! [`Claim`]: keys that a recording is about to be put under. It is written before the first of them is, and goes in the
//! transaction that files the recording: until then nothing else names what lies there.

use redb::{ReadableTable, TableError};
use serde::{Deserialize, Serialize};

use crate::index::tables::{CLAIMS, encoded, readable, row_at};
use crate::index::{Index, IndexError};
use crate::model::{Key, Object};

/// What a publication puts into the store before the index names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    pub audio: Object,
    /// Keys at which nothing was before, that of the audio last.
    pub new: Vec<Key>,
}

impl Index {
    /// All of them: there is one at a time, and one more for each publication that was cut off.
    pub fn claims(&self) -> Result<Vec<Claim>, IndexError> {
        self.ask(|now| {
            let table = match now.table(CLAIMS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut found = Vec::new();
            for row in table.iter()? {
                let (key, row) = row?;
                found.extend(readable::<Claim>(key.value(), row.value()));
            }
            Ok(found)
        })
    }

    /// # Errors
    /// A commit has failed, and nobody knows what of it is on disk: nothing is written any more until it is opened anew.
    pub fn is_writable(&self) -> Result<(), IndexError> {
        self.inner.writer.change(|_| Ok(()))
    }

    /// Claims keys, durably. What is claimed there already stays claimed.
    pub fn claim(&self, claim: Claim) -> Result<(), IndexError> {
        self.inner.writer.change(move |writing| {
            let key = claim.audio.key.as_str();
            let standing: Option<Claim> = row_at(&writing.tables().open_table(CLAIMS)?, key)?;
            let mut new = standing.map_or_else(Vec::new, |standing| standing.new);
            new.retain(|key| !claim.new.contains(key));
            new.extend(claim.new);
            let row = encoded(&Claim { audio: claim.audio.clone(), new })?;
            writing.begin().open_table(CLAIMS)?.insert(key, row.as_slice())?;
            Ok(())
        })
    }

    /// Nothing of it is left in the store. After a crash that forgets this, it is found out again.
    pub fn release_claim(&self, audio: &Key) -> Result<(), IndexError> {
        let audio = audio.clone();
        self.inner.writer.change(move |writing| {
            writing.begin_lazily().open_table(CLAIMS)?.remove(audio.as_str())?;
            Ok(())
        })
    }
}
