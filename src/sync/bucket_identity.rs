//! Which bucket a state folder belongs to. Buckets have many names (an address, an alias, another account's
//! gateway) and one name may come to mean another bucket; so a random id is kept in the bucket itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::index::{Index, IndexError};
use crate::model::{BoundPlace, Destination, Key};
use crate::store::{Bucket, Bytes, StoreError};

const SCHEMA: &str = "scribefs.place/1";

/// What stands in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    schema: String,
    id: String,
    created_at: Timestamp,
}

/// Why a state folder and a bucket do not go together.
#[derive(Debug, thiserror::Error)]
pub enum BucketIdentityError {
    /// Not the bucket that this state folder belongs to.
    #[error("{wanted} is not the bucket that this state folder belongs to ({bound})")]
    Other { wanted: String, bound: String },
    #[error(
        "it is not known whether {wanted} is the bucket that this state folder belongs to ({bound})"
    )]
    Unknown { wanted: String, bound: String, source: StoreError },
    #[error("the bucket could not be asked for its id")]
    Store(#[from] StoreError),
    #[error("the index refused")]
    Index(#[from] IndexError),
}

/// The id of a bucket; `None`: it has none yet.
pub fn place_id(bucket: &dyn Bucket) -> Result<Option<String>, StoreError> {
    let key = Key::place();
    let json = match bucket.get_versioned(&key) {
        Ok((json, _)) => json,
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(err) => return Err(err),
    };
    match serde_json::from_slice::<Marker>(&json) {
        Ok(marker) if marker.schema == SCHEMA => Ok(Some(marker.id)),
        Ok(_) | Err(_) => {
            let source = "it does not say which place this is".into();
            Err(StoreError::Refused { at: key.to_string(), source })
        }
    }
}

/// For writers, under the lease: the bucket's id, which is made where there is none, noted in the index.
///
/// Where recordings belong on local disk, the bucket is only read from or left.
///
/// # Errors
/// `Other`: the bucket is another one than before, under the same name.
pub(crate) fn bind_writer(bucket: &dyn Bucket, index: &Index) -> Result<(), BucketIdentityError> {
    let Destination::Bucket { place: name } = index.destination()? else { return Ok(()) };
    let bound = index.bound_place()?;
    let known = bound.as_ref().and_then(|bound| bound.id.clone());
    let id = match (place_id(bucket)?, known.clone()) {
        (Some(found), Some(known)) if found != known => {
            let bound = bound.map_or_else(String::new, |bound| bound.name);
            return Err(BucketIdentityError::Other { wanted: name, bound });
        }
        (Some(found), _) => found,
        // Made anew, or emptied: it is the same to us.
        (None, known) => create(bucket, known)?,
    };
    let place = BoundPlace { name, id: Some(id) };
    if bound.as_ref() != Some(&place) {
        index.bind_place(&place)?;
    }
    Ok(())
}

/// Only one of two that begin at once creates the id.
fn create(bucket: &dyn Bucket, id: Option<String>) -> Result<String, BucketIdentityError> {
    let id = id.unwrap_or_else(|| Ulid::generate().to_string());
    let marker = Marker { schema: SCHEMA.to_owned(), id: id.clone(), created_at: Timestamp::now() };
    let json = serde_json::to_vec_pretty(&marker).map_err(|err| StoreError::Refused {
        at: Key::place().to_string(),
        source: Box::new(err),
    })?;
    match bucket.put_if(&Key::place(), Bytes::from(json), None)? {
        Some(_) => Ok(id),
        None => Ok(place_id(bucket)?.unwrap_or(id)),
    }
}

/// For writers, before they settle in a bucket of another name: whether it is the same one.
///
/// # Errors
/// `Unknown`: recordings are in a bucket, and the one of the new name does not answer.
pub fn is_renamed(
    bucket: &dyn Bucket,
    index: &Index,
    wanted: &Destination,
) -> Result<bool, BucketIdentityError> {
    let (Destination::Bucket { place: settled }, Destination::Bucket { place: wanted }) =
        (index.destination()?, wanted)
    else {
        return Ok(false);
    };
    let known = index.bound_place()?.and_then(|bound| bound.id);
    if settled == *wanted || known.is_none() {
        return Ok(false);
    }
    let found = place_id(bucket).map_err(|source| BucketIdentityError::Unknown {
        wanted: wanted.clone(),
        bound: settled,
        source,
    })?;
    if found != known {
        return Ok(false);
    }
    index.rename_destination(wanted)?;
    index.bind_place(&BoundPlace { name: wanted.clone(), id: found })?;
    Ok(true)
}

/// For followers, before anything is shown of what the index has: whether it is of the bucket of that name.
/// The bucket is asked only where the name is another one than before.
///
/// # Errors
/// `Other`, and `Unknown` where the bucket does not answer.
pub fn bind_follower(
    bucket: &dyn Bucket,
    index: &Index,
    wanted: &str,
) -> Result<(), BucketIdentityError> {
    let place = match index.bound_place()? {
        Some(bound) if bound.name == wanted => return Ok(()),
        Some(bound) => {
            let found = place_id(bucket).map_err(|source| BucketIdentityError::Unknown {
                wanted: wanted.to_owned(),
                bound: bound.name.clone(),
                source,
            })?;
            if found.is_none() || found != bound.id {
                let wanted = wanted.to_owned();
                return Err(BucketIdentityError::Other { wanted, bound: bound.name });
            }
            BoundPlace { name: wanted.to_owned(), id: found }
        }
        None => {
            // Older versions did not note which bucket the index follows: all of it is looked at again.
            index.forget_followed()?;
            BoundPlace { name: wanted.to_owned(), id: None }
        }
    };
    Ok(index.bind_place(&place)?)
}

/// For followers at work: whether the bucket is still the one that the index is of. Notes an id that has
/// become known.
pub(crate) fn confirm_follower(
    bucket: &dyn Bucket,
    index: &Index,
) -> Result<(), BucketIdentityError> {
    let found = place_id(bucket)?;
    let bound = index.bound_place()?;
    let known = bound.as_ref().and_then(|bound| bound.id.clone());
    match (found, known) {
        (Some(found), Some(known)) if found == known => Ok(()),
        (None, None) => Ok(()),
        (Some(found), None) => {
            let name = bound.map_or_else(String::new, |bound| bound.name);
            Ok(index.bind_place(&BoundPlace { name, id: Some(found) })?)
        }
        (_, Some(_)) => {
            let name = bound.map_or_else(String::new, |bound| bound.name);
            Err(BucketIdentityError::Other { wanted: "what answers now".to_owned(), bound: name })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{FlakyStore, MemoryStore, Store};

    fn index() -> (Index, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Index::open(&dir.path().join("index.redb")).unwrap(), dir)
    }

    fn at(place: &str) -> Destination {
        Destination::Bucket { place: place.to_owned() }
    }

    fn written() -> (MemoryStore, Index, tempfile::TempDir) {
        let (bucket, (index, dir)) = (MemoryStore::default(), index());
        index.set_destination(&at("s3://talks/ at http://minio:9000")).unwrap();
        bind_writer(&bucket, &index).unwrap();
        (bucket, index, dir)
    }

    #[test]
    fn the_same_bucket_under_a_new_address_is_the_same_place() {
        let (bucket, index, _dir) = written();
        let renamed = at("s3://talks/ at https://minio.lan");
        assert!(is_renamed(&bucket, &index, &renamed).unwrap());
        assert_eq!(index.destination().unwrap(), renamed);
        assert_eq!(index.set_destination(&renamed).unwrap(), 0);
        bind_writer(&bucket, &index).unwrap();
    }

    #[test]
    fn another_bucket_under_a_new_address_is_another_place() {
        let (_, index, _dir) = written();
        let (other, settled) = (MemoryStore::default(), index.destination().unwrap());
        assert!(!is_renamed(&other, &index, &at("s3://elsewhere/")).unwrap());
        assert_eq!(index.destination().unwrap(), settled);
        // Who moves there belongs there from then on.
        index.set_destination(&at("s3://elsewhere/")).unwrap();
        bind_writer(&other, &index).unwrap();
        assert_eq!(index.bound_place().unwrap().unwrap().id, place_id(&other).unwrap());
    }

    #[test]
    fn a_new_address_that_does_not_answer_is_not_settled_in() {
        let (bucket, index, _dir) = written();
        let away = FlakyStore::failing_after(0, Arc::new(bucket));
        let refused = is_renamed(&away, &index, &at("s3://elsewhere/")).unwrap_err();
        assert!(matches!(refused, BucketIdentityError::Unknown { .. }));
    }

    #[test]
    fn a_writer_refuses_another_bucket_under_the_same_name() {
        let (bucket, index, _dir) = written();
        let (other, (second, _other_dir)) = (MemoryStore::default(), self::index());
        second.set_destination(&at("s3://talks/")).unwrap();
        bind_writer(&other, &second).unwrap();
        let refused = bind_writer(&other, &index).unwrap_err();
        assert!(matches!(refused, BucketIdentityError::Other { .. }));
        // One that was emptied gets its id back.
        let id = place_id(&bucket).unwrap();
        bucket.delete(&Key::place()).unwrap();
        bind_writer(&bucket, &index).unwrap();
        assert_eq!(place_id(&bucket).unwrap(), id);
    }

    #[test]
    fn a_state_of_before_there_were_ids_takes_the_one_of_its_bucket() {
        let (bucket, _, _dir) = written();
        let (older, _older_dir) = index();
        older.set_destination(&at("s3://talks/ at http://minio:9000")).unwrap();
        bind_writer(&bucket, &older).unwrap();
        assert_eq!(older.bound_place().unwrap().unwrap().id, place_id(&bucket).unwrap());
    }

    #[test]
    fn a_follower_is_refused_by_another_bucket() {
        let (bucket, _, _dir) = written();
        let (reader, _reader_dir) = index();
        bind_follower(&bucket, &reader, "s3://talks/").unwrap();
        confirm_follower(&bucket, &reader).unwrap();
        bind_follower(&bucket, &reader, "s3://talks/ at https://minio.lan").unwrap();
        let (other, _, _other_dir) = written();
        let refused = bind_follower(&other, &reader, "s3://other/").unwrap_err();
        assert!(matches!(refused, BucketIdentityError::Other { .. }));
        assert!(confirm_follower(&other, &reader).is_err());
        assert!(confirm_follower(&MemoryStore::default(), &reader).is_err());
        confirm_follower(&bucket, &reader).unwrap();
    }
}
