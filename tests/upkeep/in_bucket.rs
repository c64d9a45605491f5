//! What tools change in a bucket.

use std::path::Path;
use std::sync::Arc;

use scribefs::index::Index;
use scribefs::store::{Bucket, BucketOptions, S3Bucket};
use scribefs::sync::{LeaseKeeper, LeaseOptions};

use super::StorageTarget;
use super::servers::Server;

impl StorageTarget {
    /// From now on recordings belong into that bucket.
    fn name_bucket(&mut self, options: &BucketOptions) {
        self.variables = vec![
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("S3_BUCKET_NAME", options.bucket.clone()),
            ("S3_REGION", "us-east-1".to_owned()),
            ("S3_ENDPOINT_URL", options.endpoint.clone().unwrap()),
            ("SCRIBEFS_STORAGE", "s3".to_owned()),
        ];
    }
}

/// A bucket, and a home whose recordings are in it.
fn moved_to_bucket(test: &str) -> Option<(StorageTarget, BucketOptions)> {
    let options = Server::moto(test)?.fresh_bucket();
    let mut home = StorageTarget::new();
    home.name_bucket(&options);
    home.succeeds(&["migrate", "--to", "s3"]);
    Some((home, options))
}

/// Holds the lease on the bucket as another scribefs would.
fn other_writer(dir: &Path, options: &BucketOptions) -> LeaseKeeper {
    let bucket: Arc<dyn Bucket> = Arc::new(S3Bucket::open(options).unwrap());
    let index = Index::open(&dir.join("other.redb")).unwrap();
    LeaseKeeper::hold(LeaseOptions { bucket, index, writer: dir.join("other-writer") }).unwrap()
}

#[test]
fn what_changes_the_bucket_waits_for_the_lease_and_gives_it_back() {
    let test = "what_changes_the_bucket_waits_for_the_lease_and_gives_it_back";
    let Some((home, options)) = moved_to_bucket(test) else { return };
    let dir = tempfile::tempdir().unwrap();
    let other = other_writer(dir.path(), &options);
    for command in [&["fsck", "--repair"][..], &["gc", "--yes"]] {
        let (code, out, err) = home.run(command);
        assert_eq!((code, out.as_str()), (1, ""), "{command:?}: {err}");
        assert!(err.contains("writes to this bucket"), "{command:?}: {err}");
    }
    for command in [&["fsck"][..], &["gc"]] {
        home.succeeds(command);
    }
    other.release();
    for command in [&["fsck", "--repair"][..], &["gc", "--yes"]] {
        home.succeeds(command);
        // It is free at once.
        other_writer(tempfile::tempdir().unwrap().path(), &options).release();
    }
}

#[test]
fn a_bucket_under_a_new_address_is_moved_into_no_second_time() {
    let test = "a_bucket_under_a_new_address_is_moved_into_no_second_time";
    let Some((mut home, mut options)) = moved_to_bucket(test) else { return };
    assert!(!home.day().join("a1.wav").exists(), "audio is in the bucket only");
    options.endpoint = options.endpoint.map(|it| it.replace("127.0.0.1", "localhost"));
    home.name_bucket(&options);
    home.succeeds(&["migrate", "--to", "s3"]);
    assert_eq!(home.succeeds(&["fsck", "--deep"]), "2 recordings, 20 objects: no problems\n");
}
