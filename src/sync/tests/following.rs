//! What a reader of a follower waits for.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fixtures::archive::Archive;
use crate::model::PageKind;
use crate::store::{Call, Intercepted, Interceptor, MemoryStore, StoreError};
use crate::sync::PageRefresher;

/// Keeps every request until the sender is gone.
struct Silent(Mutex<Receiver<()>>);

impl Interceptor for Silent {
    type Passed = ();

    fn before(&self, _: Call<'_>) -> Result<(), StoreError> {
        let _ = self.0.lock().unwrap().recv();
        Ok(())
    }
}

#[test]
fn a_reader_waits_for_a_silent_bucket_until_its_deadline_and_no_longer() {
    let archive = Archive::for_bucket();
    let recording = archive.publish("standup", "rec.wav", b"sound");
    let (go, wait) = channel();
    let silent = Silent(Mutex::new(wait));
    let bucket = Arc::new(Intercepted::new(Arc::new(MemoryStore::default()), silent));
    let refresher = PageRefresher::start(bucket, archive.services.index.clone()).unwrap();
    let stale = &recording.page(PageKind::Json).unwrap().object;
    // Both return while the bucket says nothing; the second one has waited for the first.
    for _ in 0..2 {
        refresher.refresh(stale, Instant::now() + Duration::from_millis(100));
    }
    drop(go);
}
