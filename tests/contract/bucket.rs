//! What the doc of `Bucket` promises beyond `Store`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use scribefs::model::Key;
use scribefs::store::{Bucket, Bytes, Label, StoreError, Version};

use crate::contract::key;

/// Smallest part that a bucket takes before the last.
const PART: usize = 5 << 20;

/// Runs the contract against a fresh bucket for each promise.
pub(crate) fn contract(fresh: &dyn Fn() -> Arc<dyn Bucket>) {
    let promises: [fn(&dyn Bucket); 15] = [
        what_is_put_with_a_label_comes_back,
        parts_become_one_object_when_they_are_completed,
        a_part_sent_again_takes_the_place_of_the_first,
        an_upload_that_is_given_up_leaves_nothing,
        an_unknown_upload_is_missing,
        a_range_is_streamed_to_its_end,
        a_sink_can_break_off,
        what_is_missing_cannot_be_streamed,
        a_condition_is_kept,
        listings_go_on_behind_a_key,
        a_link_names_the_object,
        a_label_is_read_without_the_bytes,
        what_was_put_without_a_label_is_nobodys,
        what_is_new_takes_nobodys_place,
        many_objects_are_removed_and_no_others,
    ];
    for promise in promises {
        promise(&*fresh());
    }
}

fn label() -> Label {
    let fields = [("duration", "1934.250"), ("original-name", "Größe  100% ☃.m4a")];
    let fields = fields.map(|(name, text)| (name, text.to_owned())).into();
    Label { content_type: "audio/mp4", fields }
}

fn bytes(count: usize) -> Bytes {
    (0..count).map(|place| (place % 251) as u8).collect()
}

fn get(bucket: &dyn Bucket, key: &Key) -> Vec<u8> {
    bucket.get_range(key, 0..u64::MAX).unwrap()
}

fn is_missing<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Missing { .. }))
}

/// What an unknown upload is: missing. Moto alone falls over (500), which reads as unavailable.
fn is_lost<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Missing { .. } | StoreError::Unavailable { .. }))
}

fn what_is_put_with_a_label_comes_back(bucket: &dyn Bucket) {
    let key = key("a/b");
    bucket.put_labelled(&key, bytes(100), &label()).unwrap();
    bucket.put_labelled(&key, bytes(10), &Label::default()).unwrap();
    assert_eq!(get(bucket, &key), bytes(10));
}

/// As scribefs labels its own.
fn own_label(content: &[u8]) -> Label {
    let hash = blake3::hash(content).to_hex().to_string();
    let fields = [("blake3", hash.clone()), ("conversation", "standup".to_owned())];
    Label {
        content_type: "audio/wav",
        fields: fields.into_iter().chain([("recording", hash)]).collect(),
    }
}

fn a_label_is_read_without_the_bytes(bucket: &dyn Bucket) {
    let (key, whole) = (key("a/2024/01/15/x.wav"), bytes(PART + 1));
    let hash = blake3::hash(&whole).to_hex().to_string();
    let id = bucket.begin_upload(&key, &own_label(&whole)).unwrap();
    let parts = [(1, whole.slice(..PART)), (2, whole.slice(PART..))];
    let parts = parts.map(|(number, part)| bucket.put_part(&key, &id, number, part).unwrap());
    let whole_version = bucket.complete_upload(&key, &id, &parts).unwrap().version;
    let facts = bucket.facts(&key).unwrap();
    assert!(
        whole_version.is_some() && facts.version == whole_version,
        "{whole_version:?} {facts:?}"
    );
    assert_eq!((facts.bytes, facts.blake3.as_deref()), (whole.len() as u64, Some(hash.as_str())));
    assert_eq!(facts.recording.as_deref(), Some(hash.as_str()));
    assert!(facts.is_ours);
    assert!(is_missing(bucket.facts(&self::key("a/2024/01/15/y.wav"))));
}

fn what_was_put_without_a_label_is_nobodys(bucket: &dyn Bucket) {
    let key = key("a/b");
    bucket.put_labelled(&key, bytes(9), &own_label(&bytes(9))).unwrap();
    assert!(bucket.facts(&key).unwrap().is_ours);
    bucket.put(&key, b"another's").unwrap();
    let facts = bucket.facts(&key).unwrap();
    assert_eq!((facts.bytes, facts.blake3, facts.is_ours), (9, None, false));
}

fn what_is_new_takes_nobodys_place(bucket: &dyn Bucket) {
    let key = key("a/b");
    let put = bucket.put_new(&key, bytes(9), &own_label(&bytes(9))).unwrap().unwrap();
    let version = bucket.facts(&key).unwrap().version;
    assert!(version.is_some() && put.version == version, "{put:?}");
    assert_eq!(bucket.put_new(&key, bytes(10), &label()).unwrap(), None);
    assert_eq!(get(bucket, &key), bytes(9));
    assert!(bucket.facts(&key).unwrap().is_ours);
}

fn parts_become_one_object_when_they_are_completed(bucket: &dyn Bucket) {
    let (key, whole) = (key("a/2024/01/15/long.wav"), bytes(2 * PART + 7));
    let id = bucket.begin_upload(&key, &label()).unwrap();
    let part = |number: u32, part| bucket.put_part(&key, &id, number, part).unwrap();
    let second = part(2, whole.slice(PART..2 * PART));
    let first = part(1, whole.slice(..PART));
    let third = part(3, whole.slice(2 * PART..));
    assert_eq!((third.number, third.bytes), (3, 7));
    assert!(is_missing(bucket.head(&key)));
    bucket.complete_upload(&key, &id, &[first, second, third]).unwrap();
    assert!(get(bucket, &key) == whole);
}

fn a_part_sent_again_takes_the_place_of_the_first(bucket: &dyn Bucket) {
    let key = key("a/b");
    let id = bucket.begin_upload(&key, &label()).unwrap();
    bucket.put_part(&key, &id, 1, bytes(PART)).unwrap();
    let again = bucket.put_part(&key, &id, 1, bytes(100)).unwrap();
    bucket.complete_upload(&key, &id, &[again]).unwrap();
    assert_eq!(get(bucket, &key), bytes(100));
}

fn an_upload_that_is_given_up_leaves_nothing(bucket: &dyn Bucket) {
    let key = key("a/b");
    let id = bucket.begin_upload(&key, &label()).unwrap();
    let part = bucket.put_part(&key, &id, 1, bytes(100)).unwrap();
    bucket.abort_upload(&key, &id).unwrap();
    bucket.abort_upload(&key, &id).unwrap();
    assert!(is_lost(bucket.put_part(&key, &id, 1, bytes(100))));
    assert!(is_lost(bucket.complete_upload(&key, &id, &[part])));
    assert!(is_missing(bucket.head(&key)));
}

fn an_unknown_upload_is_missing(bucket: &dyn Bucket) {
    let (a, b) = (key("a/b"), key("b/b"));
    let id = bucket.begin_upload(&a, &label()).unwrap();
    let part = bucket.put_part(&a, &id, 1, bytes(100)).unwrap();
    bucket.complete_upload(&a, &id, std::slice::from_ref(&part)).unwrap();
    assert!(is_lost(bucket.put_part(&a, &id, 2, bytes(100))));
    // Some remember that they have done so: what counts is that the object is whole.
    assert!(matches!(
        bucket.complete_upload(&a, &id, &[part]),
        Ok(_) | Err(StoreError::Missing { .. })
    ));
    bucket.abort_upload(&b, "0123456789abcdef").unwrap();
    assert_eq!(get(bucket, &a), bytes(100));
}

fn a_range_is_streamed_to_its_end(bucket: &dyn Bucket) {
    let (key, whole) = (key("a/b"), bytes(3_000_000));
    bucket.put_labelled(&key, whole.clone(), &label()).unwrap();
    for range in [0..3_000_000, 1_000_000..1_500_000, 2_999_999..9_000_000, 3_000_000..3_000_001] {
        let mut arrived = Vec::new();
        let sink = &mut |piece: Bytes| {
            arrived.extend_from_slice(&piece);
            ControlFlow::Continue(())
        };
        bucket.stream_range(&key, range.clone(), sink).unwrap();
        let end = (range.end as usize).min(whole.len());
        assert!(arrived == whole[range.start as usize..end], "{range:?}");
    }
}

fn a_sink_can_break_off(bucket: &dyn Bucket) {
    let key = key("a/b");
    bucket.put_labelled(&key, bytes(3_000_000), &label()).unwrap();
    let mut pieces = 0;
    let sink = &mut |_| {
        pieces += 1;
        ControlFlow::Break(())
    };
    bucket.stream_range(&key, 0..3_000_000, sink).unwrap();
    assert_eq!(pieces, 1);
}

fn what_is_missing_cannot_be_streamed(bucket: &dyn Bucket) {
    let sink = &mut |_| unreachable!("there is nothing");
    assert!(is_missing(bucket.stream_range(&key("a/b"), 0..10, sink)));
    assert!(is_missing(bucket.stream_range(&key("a/b"), 3..3, sink)));
    assert!(is_missing(bucket.get_versioned(&key("a/b"))));
}

fn a_condition_is_kept(bucket: &dyn Bucket) {
    let key = key("_scribefs/writer.json");
    let put = |text: &'static str, expected: Option<&Version>| {
        bucket.put_if(&key, Bytes::from(text), expected).unwrap()
    };
    assert_eq!(put("of nothing", Some(&Version("\"0123456789abcdef\"".to_owned()))), None);
    let first = put("first", None).unwrap();
    assert_eq!(put("second", None), None);
    assert_eq!(bucket.get_versioned(&key).unwrap(), ("first".into(), first.clone()));
    let second = put("second", Some(&first)).unwrap();
    assert_eq!(put("third", Some(&first)), None);
    assert_eq!(bucket.get_versioned(&key).unwrap(), ("second".into(), second));
}

fn listings_go_on_behind_a_key(bucket: &dyn Bucket) {
    let names = ["_x/1", "_x/2", "_x/3", "_x/4", "a/1"];
    for name in names {
        bucket.put_labelled(&key(name), bytes(3), &Label::default()).unwrap();
    }
    let list = |prefix, after, limit| -> Vec<String> {
        let found = bucket.list_after(prefix, after, limit).unwrap();
        found.into_iter().map(|found| found.key.to_string()).collect()
    };
    assert_eq!(list("_x/", "", 9), names[..4]);
    assert_eq!(list("_x/", "_x/2", 9), names[2..4]);
    assert_eq!(list("_x/", "_x/20", 1), names[2..3]);
    assert_eq!(list("_x/", "_x/4", 9), [""; 0]);
    assert_eq!(list("", "_x/4", 9), names[4..]);
    assert_eq!(list("", "", 0), [""; 0]);
}

fn a_link_names_the_object(bucket: &dyn Bucket) {
    let key = key("a/2024/01/15/x.wav");
    bucket.put_labelled(&key, bytes(3), &label()).unwrap();
    let link = bucket.link(&key, Duration::from_mins(10)).unwrap();
    assert!(link.contains(key.as_str()), "{link}");
}

fn many_objects_are_removed_and_no_others(bucket: &dyn Bucket) {
    let keys: Vec<Key> =
        (0..1_203).map(|number| Key::new(&format!("many/{number:05}")).unwrap()).collect();
    for key in keys.iter().step_by(400) {
        bucket.put(key, b"one of many").unwrap();
    }
    let kept = Key::new("kept/00000").unwrap();
    bucket.put(&kept, b"kept").unwrap();
    bucket.delete_many(&keys).unwrap();
    let left: Vec<Key> = bucket.list("").unwrap().into_iter().map(|found| found.key).collect();
    assert_eq!(left, [kept]);
    bucket.delete_many(&[]).unwrap();
}
