//! OrderReader: a line of JSON, and open files that travel with its first byte.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use serde::de::DeserializeOwned;

/// Longest line: an order is a few paths and a recipe.
const LONGEST_LINE: usize = 1 << 20;

/// The daemon's end of the conversation.
pub(crate) struct OrderReader {
    socket: RawFd,
    read: Vec<u8>,
    files: Vec<OwnedFd>,
}

/// Most files that come with one order.
const MOST_FILES: usize = 8;

/// Room for one header and so many descriptors, aligned as `cmsghdr` wants it.
type Control = [u64; 2 + MOST_FILES];

impl OrderReader {
    pub(crate) fn from_stdin() -> Self {
        Self { socket: io::stdin().as_raw_fd(), read: Vec::new(), files: Vec::new() }
    }

    /// The next order with its files; `None` when there are no more.
    pub(crate) fn next<Order: DeserializeOwned>(
        &mut self,
    ) -> io::Result<Option<(Order, Vec<File>)>> {
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
        let files = std::mem::take(&mut self.files);
        if files.is_empty() {
            return Err(io::Error::other("an order came without its files"));
        }
        Ok(Some((order, files.into_iter().map(File::from).collect())))
    }

    /// Reads some more. `false`: the daemon has hung up.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0_u8; 4096];
        let mut control: Control = [0; 2 + MOST_FILES];
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
                self.files.extend(files_of(&message));
                self.read.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
        }
    }
}

/// The descriptors that came with a message.
fn files_of(message: &libc::msghdr) -> Vec<OwnedFd> {
    // SAFETY: `message` was filled by `recvmsg`, and its control buffer is still there.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    if header.is_null() {
        return Vec::new();
    }
    // SAFETY: a header that is not null lies inside the control buffer.
    let (level, kind, length) =
        unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len) };
    if (level, kind) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
        return Vec::new();
    }
    // SAFETY: `CMSG_LEN` only computes.
    let bytes = length.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
    // SAFETY: the data part of a header that lies inside the buffer does too.
    let first = unsafe { libc::CMSG_DATA(header) }.cast::<RawFd>();
    let file = |at| {
        // SAFETY: the kernel wrote `bytes` bytes of descriptors there, which may lie unaligned.
        let file = unsafe { std::ptr::read_unaligned(first.add(at)) };
        // SAFETY: the kernel has just opened it for us, and nobody else knows it.
        unsafe { OwnedFd::from_raw_fd(file) }
    };
    (0..bytes / size_of::<RawFd>()).map(file).collect()
}
