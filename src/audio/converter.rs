//! ffmpeg, for what symphonia cannot read. It takes this process's place, so that its confinement holds.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Returns only where the program could not be started.
pub(crate) fn exec(ffmpeg: &Path, input: &File) -> io::Error {
    let input = match input.try_clone() {
        Ok(input) => input,
        Err(err) => return err,
    };
    let mut command = Command::new(ffmpeg);
    command.env_clear();
    command.args(["-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"]);
    // Opened anew and from its start: in a pipe it could not seek, and many containers need that.
    command.arg("-i").arg(format!("/proc/self/fd/{}", io::stdin().as_raw_fd()));
    command.args(["-map", "0:a:0", "-vn", "-sn", "-dn", "-ar", "16000"]);
    command.args(["-c:a", "pcm_s16le", "-f", "wav", "pipe:1"]);
    command.stdin(Stdio::from(input)).exec()
}
