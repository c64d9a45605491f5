//! One request to the bucket on its way, for some blocks in a row, and how it can fail.

use std::error::Error;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::model::{Key, Object};
use crate::store::StoreError;
use crate::store::circuit::Permit;
use crate::store::content::{BLOCK_BYTES, Content};

/// Why a fetch did not bring its blocks. As [`StoreError`], for many readers at once.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    Missing,
    Unavailable(Arc<dyn Error + Send + Sync>),
    Refused(Arc<dyn Error + Send + Sync>),
    /// The bucket has answered well, with something else than the object. Refused, as far as readers go.
    Wrong(Arc<dyn Error + Send + Sync>),
}

impl Failure {
    pub(crate) fn unavailable(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(why.into().into())
    }

    pub(crate) fn wrong(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Wrong(why.into().into())
    }

    pub(crate) fn into_error(self, key: &Key) -> StoreError {
        let at = key.to_string();
        match self {
            Self::Missing => StoreError::Missing { key: key.clone() },
            Self::Unavailable(source) => StoreError::Unavailable { at, source: Box::new(source) },
            Self::Refused(source) | Self::Wrong(source) => {
                StoreError::Refused { at, source: Box::new(source) }
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(err: StoreError) -> Self {
        match err {
            StoreError::Missing { .. } => Self::Missing,
            StoreError::Unavailable { source, .. } => Self::Unavailable(source.into()),
            StoreError::Refused { source, .. } => Self::Refused(source.into()),
        }
    }
}

/// What a fetch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A reader waits for its first block, or nearly.
    Asked,
    /// Nobody waits yet, and if the reader goes elsewhere nobody will.
    Ahead,
}

#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) object: Object,
    pub(crate) content: Content,
    pub(crate) blocks: Range<u64>,
    pub(crate) purpose: Purpose,
    pub(crate) permit: Permit,
    is_called_off: AtomicBool,
    failure: OnceLock<Failure>,
}

impl InFlight {
    pub(crate) fn new(
        object: &Object,
        content: Content,
        blocks: Range<u64>,
        purpose: Purpose,
        permit: Permit,
    ) -> Self {
        Self {
            object: object.clone(),
            content,
            blocks,
            purpose,
            permit,
            is_called_off: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    /// What to ask the bucket for. One byte beyond the end, if the end is in it: an object that is longer
    /// than its row says is another one.
    pub(crate) fn bytes(&self) -> Range<u64> {
        let is_last = self.blocks.end == self.content.blocks();
        let end = if is_last { self.content.bytes + 1 } else { self.blocks.end * BLOCK_BYTES };
        self.blocks.start * BLOCK_BYTES..end
    }

    /// Its blocks are not wanted any more.
    pub(crate) fn call_off(&self) {
        self.is_called_off.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_called_off(&self) -> bool {
        self.is_called_off.load(Ordering::Relaxed)
    }

    pub(crate) fn fail(&self, failure: Failure) {
        self.failure.get_or_init(|| failure);
    }

    /// Why it did not bring all its blocks. Nothing to tell if it was called off.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned()
    }
}
