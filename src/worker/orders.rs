//! Orders: a line of JSON, and an open file that travels with its first byte.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::model::WorkOrder;

/// Longest line: an order is a few paths and a recipe.
const LONGEST_LINE: usize = 1 << 20;

/// The daemon's end of the conversation.
pub(crate) struct Orders {
    socket: RawFd,
    read: Vec<u8>,
    files: Vec<OwnedFd>,
}

/// Room for one header and one descriptor, aligned as `cmsghdr` wants it.
type Control = [u64; 8];

impl Orders {
    pub(crate) fn from_stdin() -> Self {
        Self { socket: io::stdin().as_raw_fd(), read: Vec::new(), files: Vec::new() }
    }

    /// The next order with its recording; `None` when there are no more.
    pub(crate) fn next(&mut self) -> io::Result<Option<(WorkOrder, File)>> {
        let line = loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                break self.read.drain(..=end).collect::<Vec<u8>>();
            }
            if LONGEST_LINE < self.read.len() {
                return Err(io::Error::other("an order has no end"));
            }
            if !self.receive()? {
                return Ok(None);
            }
        };
        let order = serde_json::from_slice(&line)?;
        if self.files.is_empty() {
            return Err(io::Error::other("an order came without its recording"));
        }
        let recording = self.files.remove(0);
        Ok(Some((order, File::from(recording))))
    }

    /// Reads some more. `false`: the daemon has hung up.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0_u8; 4096];
        let mut control: Control = [0; 8];
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: an all-zero `msghdr` is a valid one that names nothing.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>();
        let flags = libc::MSG_CMSG_CLOEXEC;
        // SAFETY: `message` points at `bytes` and `control`, which outlive the call.
        let received = unsafe { libc::recvmsg(self.socket, &raw mut message, flags) };
        match usize::try_from(received) {
            Err(_) => {
                let err = io::Error::last_os_error();
                if err.kind() == io::ErrorKind::Interrupted { Ok(true) } else { Err(err) }
            }
            Ok(0) => Ok(false),
            Ok(count) => {
                self.files.extend(file_of(&message));
                self.read.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
        }
    }
}

/// The descriptor that came with a message.
fn file_of(message: &libc::msghdr) -> Option<OwnedFd> {
    // SAFETY: `message` was filled by `recvmsg`, and its control buffer is still there.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    if header.is_null() {
        return None;
    }
    // SAFETY: a header that is not null lies inside the control buffer.
    let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
    if (level, kind) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
        return None;
    }
    // SAFETY: a header of that kind carries at least one descriptor, which may lie unaligned.
    let file = unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast::<RawFd>()) };
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(file) })
}
