//! Publication, cut off at every step and done again.

mod duplicates;

use std::sync::Arc;

use crate::fixtures::{Bench, contents};
use crate::jobs::publish::PublishError;
use crate::publishing::write_pages_due;
use crate::store::{FlakyStore, MemoryStore, Store};

#[test]
fn a_publication_that_is_cut_anywhere_is_done_again_and_comes_out_the_same() {
    let whole = Arc::new(MemoryStore::default());
    let calls = {
        let counting = Arc::new(FlakyStore::failing_after(u64::MAX, whole.clone()));
        Bench::new(counting.clone()).publish().unwrap();
        counting.calls()
    };
    assert!(5 < calls);
    let metadata =
        |store: &dyn Store| contents(store).into_keys().any(|key| key.ends_with("_metadata.json"));
    for cut in 0..calls {
        let store = Arc::new(MemoryStore::default());
        let mut bench = Bench::new(Arc::new(FlakyStore::failing_after(cut, store.clone())));
        let published = bench.publish();
        let recordings = bench.services.index.totals().unwrap().recordings;
        bench.services.store = store.clone();
        match published {
            // The index has it: what is left to be done is owed.
            Ok(_) => assert_eq!(recordings, 1, "call {cut}"),
            Err(PublishError::Store(_)) => {
                // The metadata page says that the rest is there, so it never comes before it.
                assert!(!metadata(store.as_ref()), "call {cut}");
                assert_eq!(recordings, 0, "call {cut}");
                let dropped = &bench.dropped;
                assert!(bench.services.spool.is_current(dropped.id, dropped.generation));
                bench.publish().unwrap();
            }
            Err(err) => panic!("call {cut}: {err:?}"),
        }
        write_pages_due(store.as_ref(), &bench.services.index).unwrap();
        assert_eq!(contents(store.as_ref()), contents(whole.as_ref()), "call {cut}");
        assert_eq!(bench.services.index.totals().unwrap().recordings, 1, "call {cut}");
    }
}
