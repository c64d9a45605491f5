//! Events and alarms of what happens to the table, in the order in which it happens.

use std::sync::mpsc::{Receiver, channel};

use crate::model::InboxId;
use crate::spool::completeness::Completeness;
use crate::spool::state_inputs::{Candidate, Reaction};
use crate::spool::table::{Body, Place, Table};
use crate::spool::{Dropped, SpoolEvent};

/// What on the disk is no longer as the table has it, and must follow when the table is free again.
#[derive(Debug, Default, Clone, Copy)]
#[must_use]
pub(crate) struct Aftermath {
    pub(crate) mark: bool,
    pub(crate) note: bool,
}

impl Table {
    /// A queue of all events from now on, and of `offered` before them.
    pub(crate) fn subscribe(&mut self, offered: Vec<Dropped>) -> Receiver<SpoolEvent> {
        let (sender, receiver) = channel();
        for dropped in offered {
            // Cannot fail: the receiver is here.
            let _ = sender.send(SpoolEvent::Ready(dropped));
        }
        self.notifications.subscribers.push(sender);
        receiver
    }

    /// Nobody hears of anything more.
    pub(crate) fn end_subscriptions(&mut self) {
        self.notifications.subscribers.clear();
    }

    pub(crate) fn tell(&mut self, event: SpoolEvent) {
        self.notifications.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    /// Tells of a name that was made or removed without anybody's call.
    pub(crate) fn tell_name(&mut self, place: &Place) {
        self.tell(SpoolEvent::Name { folder: place.parent, name: place.name.clone() });
    }

    /// Changes where a file stands, tells of it and sets its alarm. `None` where it is no file, or `what` refuses.
    pub(crate) fn update(
        &mut self,
        id: InboxId,
        what: impl FnOnce(&mut Completeness, Candidate) -> Option<Reaction>,
    ) -> Option<Aftermath> {
        let candidate = self.candidate(id);
        let file = self.file_mut(id)?;
        let before = (file.mark(), file.has_note());
        let reaction = what(file, candidate)?;
        let aftermath =
            Aftermath { mark: before.0 != file.mark(), note: before.1 != file.has_note() };
        self.after(id, &reaction);
        Some(aftermath)
    }

    fn after(&mut self, id: InboxId, reaction: &Reaction) {
        if let Some(generation) = reaction.withdrawn {
            self.tell(SpoolEvent::Withdrawn { id, generation });
        }
        if let Some(state) = reaction.stage
            && !self.notifications.subscribers.is_empty()
            && let Some(path) = self.path(id)
        {
            self.tell(SpoolEvent::Stage { id, path, state });
        }
        self.count(id);
        self.set_alarm(id);
    }

    pub(crate) fn drop_alarm(&mut self, id: InboxId) {
        self.notifications.set_alarm(id, None);
    }

    pub(crate) fn set_alarm(&mut self, id: InboxId) {
        let due =
            self.node(id).filter(|node| node.place.is_some()).and_then(|node| match &node.body {
                Body::File(file) => file.due(),
                Body::Directory(_) | Body::Other => None,
            });
        self.notifications.set_alarm(id, due);
    }
}
