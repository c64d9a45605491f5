//! [`Shared`]: what the threads of the uploader share, and what each of them does.

use std::sync::Arc;

use jiff::Timestamp;

use crate::index::IndexError;
use crate::model::causes;
use crate::publishing::change_log::ChangeLog;
use crate::store::chance;
use crate::sync::context::SyncContext;
use crate::sync::lease::{Fence, Now};
use crate::sync::uploader::memory_budget::MemoryBudget;
use crate::sync::uploader::options::UploaderConfig;
use crate::sync::uploader::rate_limit::RateLimit;
use crate::sync::uploader::scheduler::{Next, Scheduler};
use crate::sync::uploader::upload_worker::UploadWorker;

/// What the threads share.
pub(crate) struct Shared {
    pub(crate) context: SyncContext,
    pub(crate) options: UploaderConfig,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) rate_limit: RateLimit,
    pub(crate) budget: MemoryBudget,
    pub(crate) changes: Arc<ChangeLog>,
    /// Shut while the lease on the bucket may be somebody else's.
    pub(crate) fence: Arc<Fence>,
}

impl Shared {
    pub(crate) fn worker<'a>(&'a self, heard: &'a dyn Fn()) -> UploadWorker<'a> {
        UploadWorker {
            local: self.context.local.as_ref(),
            store: self.context.store.as_ref(),
            bucket: self.context.bucket.as_ref(),
            index: &self.context.index,
            sizes: self.options.sizes,
            rate_limit: &self.rate_limit,
            budget: &self.budget,
            changes: &self.changes,
            clock: &Timestamp::now,
            chance: &chance,
            heard,
            fence: &self.fence,
        }
    }

    /// Carries one recording after the other until the end.
    pub(crate) fn carry(&self) {
        loop {
            match self.carry_one() {
                Ok(true) => {}
                Ok(false) => return,
                Err(IndexError::Full(_)) => self.scheduler.wait_for_room(),
                Err(err) => return self.give_up(&err),
            }
        }
    }

    /// Waits for a recording that may go and carries it. `false`: the end has come.
    pub(crate) fn carry_one(&self) -> Result<bool, IndexError> {
        if !self.fence.is_open() {
            // Whoever holds the lease lets everybody go again.
            self.scheduler.bar_unless_barred("there is no lease on the bucket at present");
        }
        match self.scheduler.turn(&self.context.index, Now::read())? {
            Next::Carry(recording, rested, ticket) => {
                let id = recording.id;
                let heard = || self.scheduler.heard();
                let (event, is_requested) = (ticket.event(), ticket.is_requested);
                let carried = self.worker(&heard).carry(*recording, rested, event, is_requested)?;
                self.scheduler.done(id, &ticket, carried, Now::read(), chance());
            }
            Next::Wait { until, seen } => self.scheduler.wait(until, seen),
            Next::Closed => return Ok(false),
        }
        Ok(true)
    }

    /// Without an index nothing can be carried safely.
    pub(crate) fn give_up(&self, err: &IndexError) {
        if !self.scheduler.is_closing() {
            log::error!("uploads end: {}", causes(err));
            (self.context.alarm)();
        }
        self.close();
    }

    pub(crate) fn close(&self) {
        self.scheduler.close();
        self.rate_limit.close();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}
