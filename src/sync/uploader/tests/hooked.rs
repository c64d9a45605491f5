//! A bucket that asks before and after each call whether to go on.

use std::sync::Arc;

use crate::store::{Call, Intercepted, Interceptor, MemoryStore, StoreError};

pub(crate) type Hooked<'a> = Intercepted<MemoryStore, Asking<'a>>;

/// The name of the call, and whether it is over.
type Hook<'a> = dyn Fn(&str, bool) -> Result<(), StoreError> + Send + Sync + 'a;

pub(crate) struct Asking<'a>(Box<Hook<'a>>);

pub(crate) fn hooked<'a>(
    bucket: &Arc<MemoryStore>,
    hook: impl Fn(&str, bool) -> Result<(), StoreError> + Send + Sync + 'a,
) -> Hooked<'a> {
    Intercepted::new(bucket.clone(), Asking(Box::new(hook)))
}

impl Interceptor for Asking<'_> {
    type Passed = ();

    fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        (self.0)(call.name, false)
    }

    fn after(&self, call: Call<'_>, (): ()) -> Result<(), StoreError> {
        (self.0)(call.name, true)
    }
}
