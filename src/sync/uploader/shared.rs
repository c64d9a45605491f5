//! [`Shared`]: what the threads of the uploader share, and what each of them does.

use std::sync::Arc;

use jiff::Timestamp;

use crate::index::IndexError;
use crate::model::causes;
use crate::publishing::change_log::Changes;
use crate::store::chance;
use crate::sync::context::Grounds;
use crate::sync::lease::{Fence, Now};
use crate::sync::uploader::memory_budget::MemoryBudget;
use crate::sync::uploader::options::CarrierOptions;
use crate::sync::uploader::rate_limit::Pace;
use crate::sync::uploader::scheduler::{Rounds, Turn};
use crate::sync::uploader::upload_worker::Courier;

/// What the threads share.
pub(crate) struct Shared {
    pub(crate) grounds: Grounds,
    pub(crate) options: CarrierOptions,
    pub(crate) rounds: Arc<Rounds>,
    pub(crate) pace: Pace,
    pub(crate) budget: MemoryBudget,
    pub(crate) changes: Arc<Changes>,
    /// Shut while the lease on the bucket may be somebody else's.
    pub(crate) fence: Arc<Fence>,
}

impl Shared {
    pub(crate) fn courier<'a>(&'a self, heard: &'a dyn Fn()) -> Courier<'a> {
        Courier {
            near: self.grounds.near.as_ref(),
            store: self.grounds.store.as_ref(),
            bucket: self.grounds.bucket.as_ref(),
            index: &self.grounds.index,
            sizes: self.options.sizes,
            pace: &self.pace,
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
                Err(IndexError::Full(_)) => self.rounds.wait_for_room(),
                Err(err) => return self.give_up(&err),
            }
        }
    }

    /// Waits for a recording that may go and carries it. `false`: the end has come.
    pub(crate) fn carry_one(&self) -> Result<bool, IndexError> {
        if !self.fence.is_open() {
            // Whoever holds the lease lets everybody go again.
            self.rounds.bar_unless_barred("there is no lease on the bucket at present");
        }
        match self.rounds.turn(&self.grounds.index, Now::read())? {
            Turn::Carry(recording, rested, ticket) => {
                let id = recording.id;
                let heard = || self.rounds.heard();
                let (event, is_requested) = (ticket.event(), ticket.is_requested);
                let carried =
                    self.courier(&heard).carry(*recording, rested, event, is_requested)?;
                self.rounds.done(id, &ticket, carried, Now::read(), chance());
            }
            Turn::Wait { until, seen } => self.rounds.wait(until, seen),
            Turn::Closed => return Ok(false),
        }
        Ok(true)
    }

    /// Without an index nothing can be carried safely.
    pub(crate) fn give_up(&self, err: &IndexError) {
        if !self.rounds.is_closing() {
            log::error!("the carrier ends: {}", causes(err));
            (self.grounds.alarm)();
        }
        self.close();
    }

    pub(crate) fn close(&self) {
        self.rounds.close();
        self.pace.close();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}
