//! Extended attributes of files in a mount: how the daemon is asked about one file, and told what to do with it. No
//! path is spelled out in a message for that, so no name can be taken for one.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Longest value that is read: links are some hundred bytes.
const VALUE_BYTES: usize = 16 << 10;

/// Of the file itself, should it be a link. `None`: there is no such attribute.
pub(crate) fn get(path: &Path, name: &CStr) -> io::Result<Option<String>> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut value = vec![0u8; VALUE_BYTES];
    // SAFETY: both names end in NUL, and `value` has room for as many bytes as are asked for.
    let length = unsafe {
        libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    let Ok(length) = usize::try_from(length) else {
        let err = io::Error::last_os_error();
        return if err.raw_os_error() == Some(libc::ENODATA) { Ok(None) } else { Err(err) };
    };
    value.truncate(length);
    Ok(Some(String::from_utf8_lossy(&value).into_owned()))
}

/// Of the file itself, should it be a link.
pub(crate) fn set(path: &Path, name: &CStr, value: &str) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: both names end in NUL, and `value` has as many bytes as are given.
    let result = unsafe {
        libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
