//! What the docs of `Store` and `Bucket` promise, asked of every bucket, and what a bucket says on bad days.
#![cfg(feature = "s3")]

mod contract;
mod servers;

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use scribefs::model::Key;
use scribefs::store::{
    Bucket, BucketOptions, Bytes, Encryption, FlakyStore, Found, Keys, Label, MemoryStore,
    Provider, S3Bucket, Secret, Store, StoreError,
};

use contract::{bucket, file_of, key};
use servers::proxy::{DaemonConfig, Fault, Proxy};
use servers::{GARAGE_BUCKET, Server};

fn open(options: &BucketOptions) -> Arc<S3Bucket> {
    Arc::new(S3Bucket::open(options).unwrap())
}

/// Both contracts.
fn contracts(fresh: &dyn Fn() -> Arc<S3Bucket>) {
    contract::contract(&|| fresh());
    bucket::contract(&|| fresh());
}

#[test]
fn memory_keeps_the_contract() {
    bucket::contract(&|| Arc::new(MemoryStore::default()));
}

#[test]
fn a_flaky_bucket_that_is_not_on_cue_keeps_the_contract() {
    bucket::contract(&|| {
        Arc::new(FlakyStore::failing_after(u64::MAX, Arc::new(MemoryStore::default())))
    });
}

#[test]
fn a_bucket_of_moto_keeps_the_contract() {
    let Some(moto) = Server::moto("a_bucket_of_moto_keeps_the_contract") else { return };
    contracts(&|| open(&moto.fresh_bucket()));
}

#[test]
fn a_prefix_in_a_bucket_without_conditions_keeps_the_contract() {
    let test = "a_prefix_in_a_bucket_without_conditions_keeps_the_contract";
    let Some(moto) = Server::moto(test) else { return };
    let options = BucketOptions { provider: Provider::Other, ..moto.fresh_bucket() };
    contracts(&|| open(&below(&options)));
}

#[test]
fn a_bucket_of_garage_keeps_the_contract() {
    let Some(garage) = Server::garage("a_bucket_of_garage_keeps_the_contract") else { return };
    contracts(&|| open(&below(&garage.options(GARAGE_BUCKET))));
}

/// The same bucket below a prefix of its own.
fn below(options: &BucketOptions) -> BucketOptions {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    BucketOptions { prefix: format!("my archive/{count}/"), ..options.clone() }
}

/// A bucket on moto behind a proxy, with short deadlines.
fn behind_a_proxy(test: &str) -> Option<(Arc<S3Bucket>, Proxy)> {
    let moto = Server::moto(test)?;
    let proxy = Proxy::before(moto.address);
    let options = BucketOptions {
        deadline: Duration::from_secs(5),
        longest_silence: Duration::from_secs(1),
        ..proxy.through(&moto.fresh_bucket())
    };
    Some((open(&options), proxy))
}

fn unavailable<T>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable { source, .. }) => words(&*source),
        Err(err) => panic!("{err:?} is not Unavailable"),
        Ok(_) => panic!("nothing failed"),
    }
}

fn refused<T>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Refused { source, .. }) => words(&*source),
        Err(err) => panic!("{err:?} is not Refused"),
        Ok(_) => panic!("nothing failed"),
    }
}

fn words(err: &(dyn Error + 'static)) -> String {
    let words = err.to_string();
    for secret in ["http", "Signature=", "Credential=", "AKIA"] {
        assert!(!words.contains(secret), "{words}");
    }
    words
}

#[test]
fn a_bucket_that_asks_for_patience_is_unavailable() {
    let test = "a_bucket_that_asks_for_patience_is_unavailable";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    proxy.plan(DaemonConfig::always(Fault::Answer(503, "SlowDown")));
    let said = unavailable(bucket.put(&key("a/b"), b"x"));
    assert_eq!(said, "the bucket has an internal error (503 SlowDown)");
    assert_eq!(proxy.requests("PUT"), 1, "a write is asked once");
    unavailable(bucket.get_range(&key("a/b"), 0..1));
    assert_eq!(proxy.requests("GET"), 3, "a read is asked three times");
    unavailable(bucket.head(&key("a/b")));
    unavailable(bucket.list("a/"));
    unavailable(bucket.delete(&key("a/b")));
    unavailable(bucket.begin_upload(&key("a/b"), &Label::default()));
    unavailable(bucket.put_if(&key("a/b"), Bytes::from("x"), None));
}

#[test]
fn a_read_survives_one_bad_answer() {
    let Some((bucket, proxy)) = behind_a_proxy("a_read_survives_one_bad_answer") else { return };
    bucket.put(&key("a/b"), &[7; 100_000]).unwrap();
    for fault in [Fault::Answer(503, "SlowDown"), Fault::Refuse, Fault::CutDownload(50_000)] {
        proxy.plan(DaemonConfig::always(fault).matching("GET").times(1));
        assert_eq!(bucket.get_range(&key("a/b"), 0..200_000).unwrap(), [7; 100_000], "{fault:?}");
    }
    assert_eq!(proxy.faults(), 3);
}

#[test]
fn a_connection_that_breaks_is_unavailable_and_nothing_is_half_there() {
    let test = "a_connection_that_breaks_is_unavailable_and_nothing_is_half_there";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    proxy.plan(DaemonConfig::always(Fault::CutUpload(100_000)).matching("PUT"));
    unavailable(bucket.put(&key("a/b"), &[7; 1_000_000]));
    proxy.plan(DaemonConfig::always(Fault::Refuse));
    unavailable(bucket.put(&key("a/b"), b"x"));
    proxy.heal();
    assert!(matches!(bucket.head(&key("a/b")), Err(StoreError::Missing { .. })));
}

#[test]
fn an_answer_that_is_cut_short_is_never_taken_for_whole() {
    let test = "an_answer_that_is_cut_short_is_never_taken_for_whole";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    bucket.put(&key("a/b"), &[7; 1_000_000]).unwrap();
    proxy.plan(DaemonConfig::always(Fault::CutDownload(100)).matching("GET"));
    unavailable(bucket.get_range(&key("a/b"), 0..1_000_000));
    unavailable(bucket.get_versioned(&key("a/b")));
    unavailable(bucket.list("a/"));
}

type Call = fn(&S3Bucket) -> Result<(), StoreError>;

#[test]
fn a_black_hole_swallows_no_caller() {
    let Some((bucket, proxy)) = behind_a_proxy("a_black_hole_swallows_no_caller") else { return };
    proxy.plan(DaemonConfig::always(Fault::BlackHole));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let calls: [Call; 5] = [
            |bucket| bucket.put(&key("a/b"), b"x"),
            |bucket| bucket.get_range(&key("a/b"), 0..1).map(|_| ()),
            |bucket| bucket.head(&key("a/b")).map(|_| ()),
            |bucket| bucket.list("").map(|_| ()),
            |bucket| bucket.delete(&key("a/b")),
        ];
        for call in calls {
            let bucket = &bucket;
            scope.spawn(move || {
                assert_eq!(unavailable(call(bucket)), "no answer within 5s");
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_connection_that_hangs_half_way_is_given_up_soon_and_brings_nothing() {
    let test = "a_connection_that_hangs_half_way_is_given_up_soon_and_brings_nothing";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    bucket.put(&key("a/b"), &[7; 100_000]).unwrap();
    // Bytes have come, and no more do: that long a silence, and not the whole deadline, is waited for.
    proxy.plan(DaemonConfig::always(Fault::StallDownload(50_000)).matching("GET").times(1));
    assert_eq!(unavailable(bucket.get_range(&key("a/b"), 0..200_000)), "no answer within 1s");
    assert_eq!(bucket.get_range(&key("a/b"), 0..200_000).unwrap(), [7; 100_000]);
    // What an upload has not brought whole is not there.
    proxy.plan(DaemonConfig::always(Fault::StallUpload(50_000)).matching("PUT"));
    unavailable(bucket.put(&key("a/c"), &[7; 10_000_000]));
    proxy.heal();
    assert!(matches!(bucket.head(&key("a/c")), Err(StoreError::Missing { .. })));
}

#[test]
fn a_lost_answer_to_a_completion_leaves_the_object_and_no_upload() {
    let test = "a_lost_answer_to_a_completion_leaves_the_object_and_no_upload";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    let key = key("a/b");
    let id = bucket.begin_upload(&key, &Label::default()).unwrap();
    let parts = [bucket.put_part(&key, &id, 1, Bytes::from("whole")).unwrap()];
    proxy.plan(DaemonConfig::always(Fault::DropReply).matching("POST"));
    unavailable(bucket.complete_upload(&key, &id, &parts));
    proxy.heal();
    // A bucket may remember that it has done so.
    let again = bucket.complete_upload(&key, &id, &parts);
    assert!(matches!(again, Ok(_) | Err(StoreError::Missing { .. })), "{again:?}");
    assert_eq!(bucket.head(&key).unwrap().bytes, 5);
}

#[test]
fn a_part_of_an_upload_that_was_swept_is_missing() {
    let test = "a_part_of_an_upload_that_was_swept_is_missing";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    let key = key("a/b");
    for (status, code) in [(404, "NoSuchUpload"), (400, "InvalidPart")] {
        proxy.plan(DaemonConfig::always(Fault::Answer(status, code)));
        let part = bucket.put_part(&key, "0123", 1, Bytes::from("x"));
        assert!(matches!(part, Err(StoreError::Missing { .. })), "{part:?}");
        let whole = bucket.complete_upload(&key, "0123", &[]);
        assert!(matches!(whole, Err(StoreError::Missing { .. })), "{whole:?}");
    }
}

#[test]
fn a_file_is_one_request_so_that_one_look_at_the_lease_is_enough() {
    let test = "a_file_is_one_request_so_that_one_look_at_the_lease_is_enough";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    let file = file_of(&[]);
    file.set_len((16 << 20) + 1).unwrap();
    bucket.put_file(&key("a/b"), &file).unwrap();
    assert_eq!(bucket.head(&key("a/b")).unwrap().bytes, (16 << 20) + 1);
    let changes = ["PUT", "POST", "DELETE"].map(|method| proxy.requests(method));
    assert_eq!(changes, [1, 0, 0]);
}

#[test]
fn a_refusal_says_what_a_person_can_do() {
    let Some((bucket, proxy)) = behind_a_proxy("a_refusal_says_what_a_person_can_do") else {
        return;
    };
    for (status, code, said) in [
        (403, "AccessDenied", "these keys do not have permission for that (403 AccessDenied)"),
        (
            403,
            "InvalidAccessKeyId",
            "the bucket does not know this access key (403 InvalidAccessKeyId)",
        ),
        (401, "", "these keys do not have permission for that (401)"),
        (301, "PermanentRedirect", "the bucket is in another region (301)"),
    ] {
        proxy.plan(DaemonConfig::always(Fault::Answer(status, code)));
        assert_eq!(refused(bucket.put(&key("a/b"), b"x")), said);
        assert_eq!(refused(bucket.get_range(&key("a/b"), 0..1)), said);
        assert_eq!(refused(bucket.list("")), said);
        refused(bucket.head(&key("a/b")));
        refused(bucket.delete(&key("a/b")));
        refused(bucket.put_if(&key("a/b"), Bytes::from("x"), None));
    }
}

#[test]
fn a_clock_that_is_wrong_is_named_and_time_can_cure_it() {
    let test = "a_clock_that_is_wrong_is_named_and_time_can_cure_it";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    proxy.plan(DaemonConfig::always(Fault::Answer(403, "RequestTimeTooSkewed")));
    for said in [
        unavailable(bucket.put(&key("a/b"), b"x")),
        unavailable(bucket.head(&key("a/b"))),
        unavailable(bucket.list("")),
    ] {
        assert!(said.contains("clock"), "{said}");
    }
}

#[test]
fn a_bucket_that_is_not_there_is_refused_and_not_empty() {
    let test = "a_bucket_that_is_not_there_is_refused_and_not_empty";
    let Some(moto) = Server::moto(test) else { return };
    let bucket = open(&moto.options("no-such-bucket"));
    let key = key("a/b");
    for said in [
        refused(bucket.put(&key, b"x")),
        refused(bucket.get_range(&key, 0..1)),
        refused(bucket.head(&key)),
        refused(bucket.list("")),
        refused(bucket.delete(&key)),
        refused(bucket.begin_upload(&key, &Label::default())),
        refused(bucket.put_if(&key, Bytes::from("x"), None)),
        refused(bucket.put_if(
            &key,
            Bytes::from("x"),
            Some(&scribefs::store::Version("\"0\"".into())),
        )),
    ] {
        assert_eq!(said, "there is no such bucket (404 NoSuchBucket)");
    }
}

#[test]
fn wrong_keys_are_refused_and_right_ones_get_in() {
    let Some(moto) = Server::start_moto() else {
        return eprintln!("skipped: wrong_keys_are_refused_and_right_ones_get_in: no target/moto");
    };
    let options = moto.fresh_bucket();
    let (id, secret) = moto.check_keys();
    let with = |id: &str, secret: &Secret| {
        let keys = Keys::Given { id: id.to_owned(), secret: secret.clone(), session_token: None };
        open(&BucketOptions { keys, ..options.clone() })
    };
    let bucket = with(&id, &secret);
    bucket.put(&key("a/b"), b"x").unwrap();
    assert_eq!(bucket.get_range(&key("a/b"), 0..9).unwrap(), b"x");
    let said = refused(with(&id, &Secret::new("wrong")).put(&key("a/b"), b"x"));
    assert!(said.contains("secret does not belong"), "{said}");
    let said = refused(with("nobody", &secret).get_range(&key("a/b"), 0..1));
    assert!(said.contains("does not know this access key"), "{said}");
}

#[test]
fn nobody_to_ask_for_keys_is_said_in_words_to_act_on() {
    let test = "nobody_to_ask_for_keys_is_said_in_words_to_act_on";
    let Some(moto) = Server::moto(test) else { return };
    // Nothing listens there any more.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let variables =
        BTreeMap::from([("AWS_METADATA_ENDPOINT".to_owned(), format!("http://{nowhere}"))]);
    let keys = Keys::Surroundings(variables);
    let bucket = open(&BucketOptions { keys, ..moto.fresh_bucket() });
    let said = refused(bucket.list(""));
    assert!(said.contains("AWS_ACCESS_KEY_ID"), "{said}");
}

#[test]
fn a_link_opens_the_object_for_anybody() {
    let Some(moto) = Server::moto("a_link_opens_the_object_for_anybody") else { return };
    let options = moto.fresh_bucket();
    let bucket = open(&options);
    bucket.put(&key("a/b"), b"sound").unwrap();
    let link = bucket.link(&key("a/b"), Duration::from_mins(10)).unwrap();
    let path = link.strip_prefix(&format!("http://{}", moto.address)).unwrap();
    assert_eq!(moto.ask("GET", path, "s3", ""), (200, "sound".to_owned()));
    refused(bucket.link(&key("a/b"), Duration::from_hours(8 * 24)));
    let key_of_ours = Secret::new("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
    let encryption = Encryption::Customer { key: key_of_ours };
    let closed = open(&BucketOptions { encryption, ..options });
    refused(closed.link(&key("a/b"), Duration::from_mins(10)));
}

#[test]
fn a_label_lies_with_the_object_whichever_way_it_came() {
    let test = "a_label_lies_with_the_object_whichever_way_it_came";
    let Some(moto) = Server::moto(test) else { return };
    let options = moto.fresh_bucket();
    let bucket = open(&options);
    let fields = [("duration", "1934.250"), ("original-name", "Größe.m4a")];
    let fields = fields.map(|(name, text)| (name, text.to_owned())).into();
    let label = Label { content_type: "audio/mp4", fields };
    bucket.put_labelled(&key("a/whole"), Bytes::from("sound"), &label).unwrap();
    let id = bucket.begin_upload(&key("a/parts"), &label).unwrap();
    let part = bucket.put_part(&key("a/parts"), &id, 1, Bytes::from("sound")).unwrap();
    bucket.complete_upload(&key("a/parts"), &id, &[part]).unwrap();
    for name in ["a/whole", "a/parts"] {
        let head = moto.head_of(&format!("/{}/{name}", options.bucket));
        for (field, text) in [
            ("content-type", "audio/mp4"),
            ("x-amz-meta-duration", "1934.250"),
            ("x-amz-meta-original-name", "Gr%C3%B6%C3%9Fe.m4a"),
        ] {
            assert!(head.contains(&(field.to_owned(), text.to_owned())), "{name}: {head:?}");
        }
    }
}

#[test]
fn every_kind_of_encryption_keeps_the_bytes() {
    let Some(moto) = Server::moto("every_kind_of_encryption_keeps_the_bytes") else { return };
    let customers = Secret::new("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
    for encryption in [
        Encryption::SseS3,
        Encryption::Kms { key_id: None },
        Encryption::Kms { key_id: Some("alias/recordings".to_owned()) },
        Encryption::Customer { key: customers },
    ] {
        let bucket = open(&BucketOptions { encryption, ..moto.fresh_bucket() });
        bucket.put(&key("a/b"), b"sound").unwrap();
        assert_eq!(bucket.get_range(&key("a/b"), 1..9).unwrap(), b"ound");
        assert_eq!(bucket.head(&key("a/b")).unwrap().bytes, 5);
        let id = bucket.begin_upload(&key("a/c"), &Label::default()).unwrap();
        let part = bucket.put_part(&key("a/c"), &id, 1, Bytes::from("part")).unwrap();
        bucket.complete_upload(&key("a/c"), &id, &[part]).unwrap();
        assert_eq!(bucket.get_range(&key("a/c"), 0..9).unwrap(), b"part");
        let id = bucket.begin_upload(&key("a/c"), &Label::default()).unwrap();
        bucket.abort_upload(&key("a/c"), &id).unwrap();
    }
}

#[test]
fn a_slow_bucket_is_waited_for_and_requests_are_few() {
    let test = "a_slow_bucket_is_waited_for_and_requests_are_few";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    bucket.put(&key("a/b"), &[7; 1 << 20]).unwrap();
    proxy.plan(DaemonConfig::always(Fault::Late(Duration::from_millis(300))));
    let before = proxy.all_requests();
    let mut arrived = 0;
    let sink = &mut |piece: Bytes| {
        arrived += piece.len();
        ControlFlow::Continue(())
    };
    bucket.stream_range(&key("a/b"), 0..1 << 20, sink).unwrap();
    assert_eq!((arrived, proxy.all_requests() - before), (1 << 20, 1));
}

/// Puts an object under a name that is no key of ours.
fn put_raw(server: &Server, bucket: &str, name: &str) {
    let (status, answer) = server.ask("PUT", &format!("/{bucket}/{name}"), "s3", "not ours");
    assert_eq!(status, 200, "{name}: {answer}");
}

#[test]
fn names_of_others_stop_no_listing_and_are_counted() {
    let test = "names_of_others_stop_no_listing_and_are_counted";
    let Some(server) = Server::moto(test) else { return };
    let options = server.fresh_bucket();
    let bucket = open(&options);
    let ours = ["a/2024/01/15/x.wav", "z/2024/01/15/x.wav"].map(|key| Key::new(key).unwrap());
    for key in &ours {
        bucket.put(key, b"ours").unwrap();
    }
    for name in ["logs//x", "b/c//", "m%20n", "folder/", "%C3%BC"] {
        put_raw(server, &options.bucket, name);
    }
    let listed = |found: Vec<Found>| found.into_iter().map(|it| it.key).collect::<Vec<_>>();
    assert_eq!(listed(bucket.list("").unwrap()), ours);
    let foreign = bucket.take_foreign();
    assert!(foreign.named.contains(&"logs//x".to_owned()), "{foreign:?}");
    assert!(3 <= foreign.count, "{foreign:?}");
    for limit in 1..4 {
        assert_eq!(listed(bucket.list_after("", "", limit).unwrap()), ours[..limit.min(2)]);
        assert_eq!(listed(bucket.list_after("", ours[0].as_str(), limit).unwrap()), ours[1..]);
    }
}

#[test]
fn conditions_are_tried_and_not_believed() {
    let test = "conditions_are_tried_and_not_believed";
    let Some(server) = Server::moto(test) else { return };
    let options = server.fresh_bucket();
    // Whatever the name promises, what is tried counts, and what is not kept is done by looking.
    for provider in [Provider::Aws, Provider::Other] {
        let bucket = open(&BucketOptions { provider, ..options.clone() });
        let keeps = bucket.try_conditions().unwrap();
        assert_eq!(bucket.knows_conditions(), keeps);
        assert_eq!(bucket.list("_scribefs/").unwrap(), []);
        let key = Key::new(&format!("_scribefs/{provider}")).unwrap();
        let first = bucket.put_if(&key, Bytes::from_static(b"1"), None).unwrap().unwrap();
        assert_eq!(bucket.put_if(&key, Bytes::from_static(b"2"), None).unwrap(), None);
        assert!(bucket.put_if(&key, Bytes::from_static(b"3"), Some(&first)).unwrap().is_some());
        assert_eq!(bucket.put_if(&key, Bytes::from_static(b"4"), Some(&first)).unwrap(), None);
        bucket.delete(&key).unwrap();
    }
}

#[test]
fn what_is_missing_costs_one_request() {
    let test = "what_is_missing_costs_one_request";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    let there = Key::new("a/2024/01/15/x.wav").unwrap();
    bucket.put(&there, &vec![7; 1 << 20]).unwrap();
    let gone = Key::new("a/2024/01/15/y.wav").unwrap();
    let before = proxy.all_requests();
    assert!(matches!(bucket.head(&gone), Err(StoreError::Missing { .. })));
    assert_eq!(proxy.all_requests() - before, 1);
}

#[test]
fn many_objects_are_removed_with_one_request() {
    let test = "many_objects_are_removed_with_one_request";
    let Some((bucket, proxy)) = behind_a_proxy(test) else { return };
    let keys: Vec<Key> =
        (0..600).map(|number| Key::change(jiff::Timestamp::UNIX_EPOCH, number)).collect();
    bucket.put(&keys[7], b"{}").unwrap();
    let before = proxy.all_requests();
    bucket.delete_many(&keys).unwrap();
    assert_eq!(proxy.all_requests() - before, 1);
    assert_eq!(bucket.list("").unwrap(), []);
}

#[test]
fn an_import_says_which_names_it_cannot_take() {
    let test = "an_import_says_which_names_it_cannot_take";
    let Some(server) = Server::moto(test) else { return };
    let options = server.fresh_bucket();
    let bucket = open(&options);
    let ours = Key::new("standup/2024/01/15/monday.wav").unwrap();
    bucket.put(&ours, b"sound").unwrap();
    put_raw(server, &options.bucket, "standup/2024/01/15/Team%20meeting.wav");
    put_raw(server, &options.bucket, "notes/agenda.txt");
    let found = scribefs::upkeep::days(bucket.as_ref()).unwrap();
    assert_eq!(found.days, [[ours]]);
    let passed_over = found.passed_over;
    assert_eq!(passed_over.count, 2, "{passed_over:?}");
    assert!(passed_over.named.iter().any(|name| name.ends_with("meeting.wav")), "{passed_over:?}");
    assert!(passed_over.named.contains(&"notes/agenda.txt".to_owned()), "{passed_over:?}");
}
