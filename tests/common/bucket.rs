//! A bucket in memory that counts what it is asked, and that can be away.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use scribefs::store::{Call, Intercepted, Interceptor, MemoryStore, StoreError};

pub(crate) type CountingBucket = Intercepted<MemoryStore, Counting>;

#[derive(Default)]
pub(crate) struct Counting {
    is_away: AtomicBool,
    requests: Mutex<BTreeMap<String, u64>>,
}

impl Counting {
    pub(crate) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Requests since they were last taken, by what they were.
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        self.requests.lock().unwrap().clone()
    }

    /// The same, to count from nothing again.
    pub(crate) fn take_requests(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

impl Interceptor for Counting {
    type Passed = ();

    fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        let what = match call.name {
            "put" | "put_file" | "put_file_new" | "put_labelled" | "put_new" | "put_if" => "put",
            "get_range" | "read" | "stream_range" | "get_versioned" => "get",
            "head" | "facts" | "is_taken" | "written_at" => "head",
            "list" | "list_after" => "list",
            "delete" | "delete_first" => "delete",
            // Nobody is asked.
            "open_local" | "link" => return Ok(()),
            other => other,
        };
        let at = call.at;
        *self.requests.lock().unwrap().entry(format!("{what} {at}")).or_default() += 1;
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable { at: at.to_owned(), source: "away".into() }),
            false => Ok(()),
        }
    }
}
