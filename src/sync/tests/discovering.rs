//! What a bucket turns out to have is filed beside the writer's own recordings, and changes nothing about them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::fixtures::archive::Archive;
use crate::model::{ConversationId, ConversationSeq, Day, Key, Recording};
use crate::publishing::write_pages_due;
use crate::store::{MemoryStore, Store};
use crate::sync::discover;
use crate::sync::purge::remove_purged;
use crate::sync::refusals::Refusals;

const STANDUP: ConversationSeq = ConversationSeq(1);
const MONDAY: &str = "standup/2024/01/15/monday_metadata.json";

/// A bucket with a `standup` of another index, in the trash since 2023 if `is_trashed`, and a writer with one of his
/// own, who does not know it.
fn met(is_trashed: bool) -> (Arc<MemoryStore>, Archive, Recording) {
    let bucket = Arc::new(MemoryStore::default());
    let other = Archive::for_bucket();
    other.publish("standup", "monday.wav", b"of another index");
    assert_eq!(other.carry(&bucket), None);
    if is_trashed {
        other.services.index.trash_conversation(STANDUP, long_ago()).unwrap();
        write_pages_due(other.local.as_ref(), &other.services.index).unwrap();
        let metadata = Key::new(MONDAY).unwrap();
        let bytes = other.local.get_range(&metadata, 0..u64::MAX).unwrap();
        bucket.put(&metadata, &bytes).unwrap();
    }
    let archive = Archive::for_bucket();
    let own = archive.publish("standup", "rec.wav", b"sound");
    archive.services.index.set_needs_remote_scan(true).unwrap();
    (bucket, archive, own)
}

fn long_ago() -> Timestamp {
    "2023-01-01T00:00:00Z".parse().unwrap()
}

fn found(archive: &Archive) -> Option<Recording> {
    archive.services.index.filed_recording_at(&Key::new(MONDAY).unwrap()).unwrap()
}

#[test]
fn a_conversation_that_is_in_the_trash_by_the_bucket_takes_only_what_was_found_there() {
    let (bucket, archive, own) = met(true);
    let index = &archive.services.index;
    assert_eq!(discover(bucket.as_ref(), index).unwrap(), 1);
    assert_eq!(index.conversation(STANDUP).unwrap().unwrap().trashed_at, None);
    assert_eq!(index.recording(own.id).unwrap().unwrap().overlay.trashed_at, None);
    let monday = found(&archive).unwrap();
    assert_eq!(monday.overlay.trashed_at, Some(long_ago()));
    assert!(!index.needs_remote_scan().unwrap());
    // From there it comes back by itself.
    index.restore_recording(monday.id).unwrap();
    assert_eq!(index.recordings(STANDUP, Day::from_ymd(2024, 1, 15).unwrap()).unwrap().len(), 2);
}

#[test]
fn a_conversation_that_was_renamed_here_keeps_its_name_when_more_of_it_is_found() {
    let (bucket, archive, _) = met(false);
    let index = &archive.services.index;
    let weekly = ConversationId::new("weekly").unwrap();
    index.rename_conversation(STANDUP, &weekly).unwrap();
    assert_eq!(discover(bucket.as_ref(), index).unwrap(), 1);
    assert_eq!(index.conversation(STANDUP).unwrap().unwrap().id, weekly);
    assert_eq!(found(&archive).unwrap().id.conversation, STANDUP);
}

#[test]
fn what_belongs_into_a_conversation_of_the_trash_waits_until_that_is_back() {
    let (bucket, archive, _) = met(false);
    let index = &archive.services.index;
    let at = Timestamp::now();
    index.trash_conversation(STANDUP, at).unwrap();
    assert_eq!(discover(bucket.as_ref(), index).unwrap(), 0);
    let standup = index.filed_conversation(STANDUP).unwrap().unwrap();
    assert_eq!((standup.trashed_at, found(&archive)), (Some(at), None));
    assert!(index.needs_remote_scan().unwrap());
    index.restore_conversation(STANDUP).unwrap();
    assert_eq!(discover(bucket.as_ref(), index).unwrap(), 1);
    assert!(found(&archive).is_some() && !index.needs_remote_scan().unwrap());
}

#[test]
fn what_belongs_into_a_conversation_that_is_being_removed_outlives_it() {
    for is_trashed in [false, true] {
        let (bucket, archive, own) = met(is_trashed);
        let index = &archive.services.index;
        let now = Timestamp::now();
        index.trash_conversation(STANDUP, now).unwrap();
        let condemn = || index.mark_old_purging(Duration::ZERO, now, Duration::ZERO).unwrap();
        assert_eq!(condemn() + condemn(), 1);
        assert_eq!(discover(bucket.as_ref(), index).unwrap(), 0);
        assert_eq!(index.purging_conversations().unwrap().len(), 1);
        assert_eq!(found(&archive), None);
        index.remove_conversation(STANDUP).unwrap();
        assert_eq!(discover(bucket.as_ref(), index).unwrap(), 1);
        let monday = found(&archive).unwrap();
        assert!(bucket.head(&monday.audio.key).is_ok());
        assert_ne!(monday.id.conversation, own.id.conversation);
        let conversation = index.filed_conversation(monday.id.conversation).unwrap().unwrap();
        assert_eq!(conversation.trashed_at.is_some(), is_trashed);
    }
}

#[test]
fn what_was_purged_here_and_is_found_in_a_bucket_is_to_be_removed_from_it() {
    let (bucket, archive, _) = met(false);
    let index = &archive.services.index;
    assert_eq!(discover(bucket.as_ref(), index).unwrap(), 1);
    let monday = found(&archive).unwrap();
    index.purge_recording(monday.id, Timestamp::now()).unwrap();
    let local = archive.local.as_ref();
    remove_purged(local, index, &Refusals::default(), Timestamp::now()).unwrap();
    index.set_needs_remote_scan(true).unwrap();
    assert_eq!(discover(bucket.as_ref(), index).unwrap(), 0);
    assert_eq!(found(&archive), None);
    let dues = index.removals_due().unwrap();
    assert_eq!(dues.len(), 1);
    assert_eq!((dues[0].is_here, dues[0].is_in_bucket), (false, true));
}
