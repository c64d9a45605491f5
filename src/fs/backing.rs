//! Which open files the kernel serves by itself, straight from the real file below.
//!
//! The kernel wants all opens of one inode to agree: the same backing file, and never passed through and
//! cached at once (it answers EIO then). So the first open decides for as long as any is left.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::BackingId;

use crate::model::Inode;

#[derive(Debug, Default)]
pub(crate) struct Backings {
    /// The kernel offers it and we may use it: `CAP_SYS_ADMIN` outside of any user namespace.
    is_possible: AtomicBool,
    inodes: Mutex<HashMap<Inode, Opens>>,
}

#[derive(Debug)]
struct Opens {
    count: u32,
    /// `None`: through the daemon and the page cache.
    backing: Option<Arc<BackingId>>,
}

impl Backings {
    pub(crate) fn allow(&self) {
        self.is_possible.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_possible(&self) -> bool {
        self.is_possible.load(Ordering::Relaxed)
    }

    /// Counts one more open of `inode`. `None`: it goes through the daemon. `register` says `None` where
    /// there is no file to hand over: it is in the bucket.
    ///
    /// To be matched by one [`Self::leave`].
    pub(crate) fn enter(
        &self,
        inode: Inode,
        register: impl FnOnce() -> Option<io::Result<BackingId>>,
    ) -> Option<Arc<BackingId>> {
        if let Some(opens) = self.lock().get_mut(&inode) {
            opens.count += 1;
            return opens.backing.clone();
        }
        let registered = if self.is_possible() { self.registered(register) } else { None };
        // Another open may have been faster; then ours is dropped again, after the lock.
        let mut inodes = self.lock();
        let opens =
            inodes.entry(inode).or_insert_with(|| Opens { count: 0, backing: registered.clone() });
        opens.count += 1;
        let backing = opens.backing.clone();
        drop(inodes);
        backing
    }

    fn registered(
        &self,
        register: impl FnOnce() -> Option<io::Result<BackingId>>,
    ) -> Option<Arc<BackingId>> {
        match register()? {
            Ok(id) => Some(Arc::new(id)),
            Err(err) => {
                // Not permitted, or stacked too high: it will not be otherwise for the next file.
                if self.is_possible.swap(false, Ordering::Relaxed) {
                    log::info!("mount: files go through the daemon, passthrough failed: {err}");
                }
                None
            }
        }
    }

    pub(crate) fn leave(&self, inode: Inode) {
        let mut inodes = self.lock();
        let Some(opens) = inodes.get_mut(&inode) else { return };
        opens.count -= 1;
        let last = if opens.count == 0 { inodes.remove(&inode) } else { None };
        // The kernel is told on drop, and that is no work to do under the lock.
        drop(inodes);
        drop(last);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Inode, Opens>> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
