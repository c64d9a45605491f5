//! Orders on their way to a worker: a line on a Unix socket, with open files attached (`SCM_RIGHTS`).

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;

/// Most files that go with one order.
const MOST_FILES: usize = 8;

/// Writes `line` to the socket with `files` attached to its first byte.
pub(crate) fn send(mut socket: &UnixStream, line: &[u8], files: &[&File]) -> io::Result<()> {
    let files: Vec<RawFd> = files.iter().map(|file| file.as_raw_fd()).collect();
    let sent = send_first(socket.as_raw_fd(), line, &files)?;
    socket.write_all(line.get(sent..).unwrap_or_default())
}

fn send_first(socket: RawFd, bytes: &[u8], files: &[RawFd]) -> io::Result<usize> {
    let length = u32::try_from(size_of_val(files)).ok().filter(|_| files.len() <= MOST_FILES);
    let length = length.ok_or_else(|| io::Error::other("too many files for one order"))?;
    let mut parts = [IoSlice::new(bytes)];
    // Room for one header and so many descriptors, aligned as `cmsghdr` wants it.
    let mut control = [0_u64; 2 + MOST_FILES];
    // SAFETY: an all-zero `msghdr` is a valid one that names nothing.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr().cast();
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: `CMSG_SPACE` only computes; 16 bytes of header and 4 for each file fit in `control`.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as usize;
    // SAFETY: `msg_control` has room for one header, so the first one lies inside it; the descriptors are
    // written unaligned-safe into the data part that `CMSG_LEN` makes room for.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(length) as usize;
        let data = libc::CMSG_DATA(header);
        ptr::copy_nonoverlapping(files.as_ptr().cast::<u8>(), data, size_of_val(files));
    }
    // SAFETY: `message` points at `parts` and `control`, which outlive the call.
    let sent = unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn files_travel_with_their_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&ours, b"order\n", &[&file, &file]).unwrap();
        let mut line = String::new();
        BufReader::new(theirs).read_line(&mut line).unwrap();
        assert_eq!(line, "order\n");
        assert!(send(&ours, b"order\n", &[&file; MOST_FILES + 1]).is_err());
    }
}
