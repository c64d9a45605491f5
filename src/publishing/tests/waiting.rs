//! Nobody waits for a bucket that somebody else reads from.

use std::fs::File;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;

use crate::fixtures::Bench;
use crate::model::{Key, PageKind};
use crate::publishing::page_store::PageStore;
use crate::publishing::{day_transcript, name_speakers, page_lock, pages_update};
use crate::store::{Found, MemoryStore, ObjectFacts, Store, StoreError};

/// Local disk and a bucket that says when it is read from, and answers when it is told to.
struct Slow {
    local: Arc<MemoryStore>,
    remote: Arc<MemoryStore>,
    asked: Sender<Key>,
    may_answer: Mutex<Receiver<()>>,
}

impl Store for Slow {
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.local.put(key, bytes)
    }
    fn put_file(&self, key: &Key, file: &File) -> Result<(), StoreError> {
        self.local.put_file(key, file)
    }
    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        match self.local.get_range(key, range.clone()) {
            Err(StoreError::Missing { .. }) if self.remote.is_taken(key.as_str())? => {
                self.asked.send(key.clone()).unwrap();
                let _ = self.may_answer.lock().unwrap().recv_timeout(Duration::from_secs(300));
                self.remote.get_range(key, range)
            }
            found => found,
        }
    }
    fn head(&self, key: &Key) -> Result<Found, StoreError> {
        self.local.head(key)
    }
    fn is_taken(&self, place: &str) -> Result<bool, StoreError> {
        self.local.is_taken(place)
    }
    fn facts(&self, key: &Key) -> Result<ObjectFacts, StoreError> {
        self.local.facts(key)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        self.local.list(prefix)
    }
    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.local.delete(key)
    }
    fn open_local(&self, key: &Key) -> Result<Option<File>, StoreError> {
        self.local.open_local(key)
    }
}

/// A bench whose first recording has its pages in the bucket only. `words`: what makes its chapter unlike any other.
fn fixture(words: &str) -> (Bench, Arc<Slow>, Receiver<Key>, Sender<()>) {
    let (local, remote) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
    let mut bench = Bench::new(local.clone());
    bench.drop_another(&format!("{words}.wav"));
    let first = bench.publish().unwrap();
    for page in &first.pages {
        let key = &page.object.key;
        remote.put(key, &local.get_range(key, 0..u64::MAX).unwrap()).unwrap();
        local.delete(key).unwrap();
    }
    let ((asked, asks), (answer, may_answer)) = (channel(), channel());
    let slow = Arc::new(Slow { local, remote, asked, may_answer: Mutex::new(may_answer) });
    bench.services.store = slow.clone();
    (bench, slow, asks, answer)
}

/// Somebody else can write pages for as long as the bucket is read from, however often that is.
fn nobody_waits_while<T: Send>(
    asks: &Receiver<Key>,
    answer: &Sender<()>,
    work: impl FnOnce() -> T + Send,
) -> T {
    thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut count = 0;
        while !working.is_finished() {
            let Ok(key) = asks.recv_timeout(Duration::from_millis(20)) else { continue };
            count += 1;
            let (done, is_done) = channel();
            // The others of these tests hold it for moments only.
            thread::spawn(move || {
                drop(page_lock::lock());
                let _ = done.send(());
            });
            let alone = is_done.recv_timeout(Duration::from_secs(60));
            answer.send(()).unwrap();
            assert!(alone.is_ok(), "{key} is read while everybody waits");
        }
        assert!(0 < count, "the bucket was not asked");
        working.join().unwrap()
    })
}

#[test]
fn a_publication_reads_from_the_bucket_before_it_makes_others_wait() {
    let (mut bench, slow, asks, answer) = fixture("published meanwhile");
    bench.drop_another("second.wav");
    let (bench, second) = nobody_waits_while(&asks, &answer, move || {
        let second = bench.publish().unwrap();
        (bench, second)
    });
    let transcript = bench.services.index.day_transcript(second.id.conversation, second.id.day);
    let text = slow.local.get_range(&transcript.unwrap().unwrap().object.key, 0..u64::MAX).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("published meanwhile.wav") && text.contains("second.wav"), "{text}");
}

#[test]
fn pages_that_are_written_again_are_read_before_others_have_to_wait() {
    let (bench, slow, asks, answer) = fixture("named meanwhile");
    let index = &bench.services.index;
    let first = index.every_recording(None, 1).unwrap().remove(0);
    let names = [(crate::model::SpeakerId(0), "Anna".to_owned())].into();
    nobody_waits_while(&asks, &answer, || {
        name_speakers(slow.as_ref(), index, first.id, &names).unwrap();
    });
    let row = index.recording(first.id).unwrap().unwrap();
    let json = &row.page(PageKind::Json).unwrap().object.key;
    let json = slow.local.get_range(json, 0..u64::MAX).unwrap();
    assert!(String::from_utf8_lossy(&json).contains("Anna"));
}

#[test]
fn pages_that_are_due_are_read_before_others_have_to_wait() {
    let (bench, slow, asks, answer) = fixture("due meanwhile");
    let index = &bench.services.index;
    let first = index.every_recording(None, 1).unwrap().remove(0);
    let seq = first.id.conversation;
    let page_store = PageStore { store: slow.as_ref(), index };
    index.rename_conversation(seq, &crate::model::ConversationId::new("renamed").unwrap()).unwrap();
    nobody_waits_while(&asks, &answer, || {
        assert!(pages_update::conversation(page_store, seq).unwrap());
    });
    let row = index.recording(first.id).unwrap().unwrap();
    assert!(first.revision < row.revision && first.published_at <= Timestamp::now());
}

#[test]
fn what_was_read_ahead_is_not_read_from_the_bucket_again() {
    let (bench, slow, asks, answer) = fixture("read ahead twice");
    let index = &bench.services.index;
    let first = index.every_recording(None, 9).unwrap().remove(0);
    let conversation = index.filed_conversation(first.id.conversation).unwrap().unwrap();
    let page_store = PageStore { store: slow.as_ref(), index };
    nobody_waits_while(&asks, &answer, || {
        drop(day_transcript::read_ahead(page_store, &conversation, first.id.day).unwrap());
    });
    // It would be given another time too.
    answer.send(()).unwrap();
    drop(day_transcript::read_ahead(page_store, &conversation, first.id.day).unwrap());
    assert!(asks.try_recv().is_err());
}
