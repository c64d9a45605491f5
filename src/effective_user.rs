//! As whom this process runs.

/// The effective user's number.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: geteuid only reads a number.
    unsafe { libc::geteuid() }
}

/// The effective group's number.
pub(crate) fn effective_group() -> u32 {
    // SAFETY: getegid only reads a number.
    unsafe { libc::getegid() }
}

/// Whether this process may mount without a helper and give files away.
pub(crate) fn is_root() -> bool {
    effective_user() == 0
}
