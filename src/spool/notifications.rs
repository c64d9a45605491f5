//! Who is told what, and what is due when. Memory only, guarded together with the table so that events come in the
//! order of what happened.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::model::InboxId;
use crate::spool::SpoolEvent;

/// Subscribers and alarms.
#[derive(Debug, Default)]
pub(crate) struct Notifications {
    /// Their queues have no bound: events are small, and a reader that is late must lose none.
    pub(crate) subscribers: Vec<Sender<SpoolEvent>>,
    alarms: BTreeSet<(Duration, InboxId)>,
    alarm_of: HashMap<InboxId, Duration>,
}

impl Notifications {
    pub(crate) fn next_alarm(&self) -> Option<(Duration, InboxId)> {
        self.alarms.first().copied()
    }

    pub(crate) fn with_alarms(&self) -> impl Iterator<Item = InboxId> {
        self.alarm_of.keys().copied()
    }

    pub(crate) fn set_alarm(&mut self, id: InboxId, due: Option<Duration>) {
        let before = match due {
            Some(due) => self.alarm_of.insert(id, due),
            None => self.alarm_of.remove(&id),
        };
        if let Some(before) = before {
            self.alarms.remove(&(before, id));
        }
        if let Some(due) = due {
            self.alarms.insert((due, id));
        }
    }
}
