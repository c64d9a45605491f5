//! What a state folder is for and which bucket it belongs to. It is refused as another: a follower forgets
//! what its bucket lacks, and a writer's recordings may be nowhere else.

use redb::{ReadableTable, ReadableTableMetadata};

use crate::index::following::FOLLOWED;
use crate::index::placing::{DESTINATION, PLACE, set_note};
use crate::index::tables::{CONVERSATIONS, JOBS, NOTES, decoded};
use crate::index::writer::WriteTxn;
use crate::index::{Index, IndexError, failure};
use crate::model::{BoundPlace, Destination, StateRole};

const ROLE: &str = "role";

impl Index {
    /// What this index is for; `None`: nothing yet.
    pub fn role(&self) -> Result<Option<StateRole>, IndexError> {
        self.ask(|now| now.role())
    }

    /// Makes this the index of a writer or of a follower, for good.
    ///
    /// # Errors
    /// `OtherRole`: it is the other one's. Nothing was changed.
    pub fn claim_role(&self, role: StateRole) -> Result<(), IndexError> {
        match self.role()? {
            Some(found) if found != role => return Err(IndexError::OtherRole { found }),
            _ if self.note(ROLE)?.is_some() => return Ok(()),
            _ => {}
        }
        self.inner.writer.change(move |writing| claim(writing, role))
    }

    /// The bucket that this state folder belongs to, as far as it is known.
    pub fn bound_place(&self) -> Result<Option<BoundPlace>, IndexError> {
        let note = self.note(PLACE)?;
        note.map(|note| decoded(note.as_bytes())).transpose()
    }

    pub fn bind_place(&self, place: &BoundPlace) -> Result<(), IndexError> {
        self.set_note(PLACE, &serde_json::to_string(place).map_err(failure::damaged)?)
    }

    /// Recordings stay where they are, and the bucket they belong to has another address from now on.
    pub fn rename_destination(&self, name: &str) -> Result<(), IndexError> {
        let destination = Destination::Bucket { place: name.to_owned() };
        let text = serde_json::to_string(&destination).map_err(failure::damaged)?;
        self.set_note(DESTINATION, &text)
    }
}

fn claim(writing: &mut WriteTxn<'_>, role: StateRole) -> Result<(), IndexError> {
    let notes = writing.tables().open_table(NOTES)?;
    let kept = notes.get(ROLE)?.map(|note| note.value().to_owned());
    drop(notes);
    match kept.as_deref().map(role_of).transpose()? {
        Some(found) if found != role => Err(IndexError::OtherRole { found }),
        Some(_) => Ok(()),
        None => {
            let text = serde_json::to_string(&role).map_err(failure::damaged)?;
            set_note(writing, ROLE, &text)
        }
    }
}

fn role_of(note: &str) -> Result<StateRole, IndexError> {
    decoded(note.as_bytes())
}

impl crate::index::queries::Snapshot {
    /// An index of before roles were noted tells its own by what is in it: only writers have jobs and a
    /// destination, and only followers know how far they have followed.
    fn role(&self) -> Result<Option<StateRole>, IndexError> {
        if let Some(note) = self.note(ROLE)? {
            return role_of(&note).map(Some);
        }
        let has_jobs = !self.table(JOBS)?.is_empty()?;
        if has_jobs || self.note(DESTINATION)?.is_some() {
            return Ok(Some(StateRole::Writer));
        }
        if self.note(FOLLOWED)?.is_some() {
            return Ok(Some(StateRole::Follower));
        }
        let has_recordings = !self.table(CONVERSATIONS)?.is_empty()?;
        Ok(has_recordings.then_some(StateRole::Writer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Followed;

    fn index() -> (Index, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Index::open(&dir.path().join("index.redb")).unwrap(), dir)
    }

    #[test]
    fn a_state_is_refused_as_another() {
        let (index, _dir) = index();
        assert_eq!(index.role().unwrap(), None);
        index.claim_role(StateRole::Writer).unwrap();
        index.claim_role(StateRole::Writer).unwrap();
        let refused = index.claim_role(StateRole::Follower).unwrap_err();
        assert!(matches!(refused, IndexError::OtherRole { found: StateRole::Writer }));
    }

    #[test]
    fn an_older_index_tells_its_role_by_what_is_in_it() {
        let (index, _dir) = index();
        let followed = Followed { place: None, asked_at: jiff::Timestamp::UNIX_EPOCH };
        index.set_followed(&followed).unwrap();
        assert_eq!(index.role().unwrap(), Some(StateRole::Follower));
        // A writer's index that was followed by mistake stays a writer's.
        index.set_destination(&Destination::Bucket { place: "s3://talks/".into() }).unwrap();
        assert_eq!(index.role().unwrap(), Some(StateRole::Writer));
    }

    #[test]
    fn an_older_index_with_recordings_and_nothing_else_is_a_writers() {
        let (index, _dir) = index();
        let id = crate::model::ConversationId::new("standup").unwrap();
        index.ensure_conversation(&id, jiff::Timestamp::UNIX_EPOCH).unwrap();
        assert!(index.claim_role(StateRole::Follower).is_err());
    }
}
