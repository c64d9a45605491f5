//! Links to what is in the bucket, and to nothing else.

use std::sync::Arc;
use std::time::Duration;

use crate::fixtures::archive::Archive;
use crate::model::PageKind;
use crate::store::{FlakyStore, MemoryStore, Store};
use crate::sync::links;

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn what_is_on_its_way_to_the_bucket_has_no_link_yet() {
    let archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let index = &archive.services.index;
    let transcript = index.filed_transcript(recording.id.conversation, recording.id.day).unwrap();
    let transcript = transcript.unwrap();
    let page = recording.page(PageKind::Json).unwrap();
    let objects = [&recording.audio, &page.object, &transcript.object];
    let bucket = Arc::new(MemoryStore::default());
    let away = FlakyStore::failing_after(0, bucket.clone());
    let has_link = |bucket: &dyn crate::store::Bucket, key| {
        links::link(bucket, index, key, HOUR).is_ok_and(|link| link.is_some())
    };
    for object in objects {
        assert!(!has_link(bucket.as_ref(), &object.key), "{}: nothing is there", object.key);
        assert!(matches!(links::link(&away, index, &object.key, HOUR), Ok(None)));
    }
    // The audio comes first.
    bucket.put(&recording.audio.key, b"sound").unwrap();
    assert!(has_link(bucket.as_ref(), &recording.audio.key));
    assert!(!has_link(bucket.as_ref(), &page.object.key));
    archive.carry(&bucket);
    for object in objects {
        assert!(has_link(bucket.as_ref(), &object.key), "{}", object.key);
    }
}
