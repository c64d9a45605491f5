//! [`DiskId`]: which file it is, by device and inode.

/// Which file it is, as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DiskId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}
