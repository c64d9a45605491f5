//! [`Verification`]: what is known of the bytes that the bucket has under the key of a recording's audio.
//!
//! A label says what whoever wrote it meant to put there. Which version of the object it was that had the bytes says
//! whether anybody has put another one there since.

use redb::{TableError, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::index::queries::Snapshot;
use crate::index::tables::{RecordingKey, VERIFIED, encoded, recording_key, row_at};
use crate::index::{Index, IndexError};
use crate::model::{ObjectVersion, RecordingId};

/// What was found out, of one version of the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "bytes")]
pub enum Verification {
    /// It has the recording's bytes: they were sent from here, or read and hashed.
    Same { version: ObjectVersion },
    /// It has other bytes, whatever its label says. `None`: the bucket does not tell versions apart.
    Other { version: Option<ObjectVersion> },
}

impl Index {
    /// What is known of the bytes that the bucket has of a recording.
    pub fn verification(&self, id: RecordingId) -> Result<Option<Verification>, IndexError> {
        self.ask(|now| now.verification(recording_key(id)))
    }
}

impl Snapshot {
    pub(crate) fn verification(
        &self,
        key: RecordingKey,
    ) -> Result<Option<Verification>, IndexError> {
        match self.table(VERIFIED) {
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            table => row_at(&table?, key),
        }
    }
}

pub(crate) fn note(
    tables: &WriteTransaction,
    id: RecordingId,
    verification: &Verification,
) -> Result<(), IndexError> {
    let row = encoded(verification)?;
    tables.open_table(VERIFIED)?.insert(recording_key(id), row.as_slice())?;
    Ok(())
}

pub(crate) fn forget(tables: &WriteTransaction, key: RecordingKey) -> Result<(), IndexError> {
    tables.open_table(VERIFIED)?.remove(key)?;
    Ok(())
}
