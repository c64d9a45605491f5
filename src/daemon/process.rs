//! What this process asks of the kernel for itself: who may read what it writes, how many files it may open, and
//! that nobody gets its memory, where keys of buckets may be.

use std::io;
use std::os::unix::fs::MetadataExt;

/// From now on nobody but their owner may read the files that this process makes. Modes that others are meant to
/// have (those of drops) are set one by one.
pub fn use_private_umask() {
    // SAFETY: umask only exchanges a number, and cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Closes what whoever started us had open besides the three standard streams: workers would inherit it.
///
/// Must be called before this process has opened anything itself.
pub fn close_inherited_files() -> io::Result<()> {
    // SAFETY: nothing in this process owns a descriptor above the standard streams yet, as the caller promises.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// For a process that lives long and holds keys: as many open files as it may have (each file that somebody has
/// open in the inbox is one of them) and as large ones, an error instead of a sudden end where that is not enough, no core dump, no other process of the same user in its memory, and none
/// of its capabilities handed on to the programs that it runs.
pub fn harden() -> io::Result<()> {
    raise(libc::RLIMIT_NOFILE)?;
    raise(libc::RLIMIT_FSIZE)?;
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a valid rlimit that outlives the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    // SAFETY: takes numbers only.
    let cleared =
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    check(cleared)
}

fn raise(what: libc::__rlimit_resource_t) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that outlives the call.
    check(unsafe { libc::getrlimit(what, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the same.
    check(unsafe { libc::setrlimit(what, &raw const limit) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether what has these attributes belongs to `user` or to root, and nobody else may write to it.
pub fn is_private_to_write(found: &std::fs::Metadata, user: u32) -> bool {
    (found.uid() == user || found.uid() == 0) && found.mode() & 0o022 == 0
}
