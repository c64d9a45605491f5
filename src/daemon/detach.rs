//! The fork: the parent waits at a pipe until the mount answers, and then exits or says why not.
//!
//! Nothing in this process may have started a thread before: a fork keeps only the one that calls it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use daemonize::{Daemonize, Outcome};

/// How long the parent waits for the mount. An index may have to be rebuilt before it answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// Said by the daemon when the mount answers; anything else is the reason why it does not.
const READY: &[u8] = b"ready\n";

/// Which side of the fork this is.
#[derive(Debug)]
pub enum Detached {
    /// The daemon is up, or it said why not.
    Parent(Result<(), String>),
    /// This is the daemon.
    Child(Readiness),
}

/// The daemon's end of the pipe.
#[derive(Debug)]
pub struct Readiness {
    pipe: Option<File>,
}

impl Readiness {
    /// For a daemon in the foreground: nobody waits.
    pub fn unawaited() -> Self {
        Self { pipe: None }
    }

    /// The mount answers.
    pub fn ready(self) {
        self.say(READY);
    }

    /// It will not; `why` is printed by the parent.
    pub fn failed(self, why: &str) {
        self.say(why.as_bytes());
    }

    fn say(mut self, words: &[u8]) {
        if let Some(pipe) = &mut self.pipe {
            // A parent that has been killed no longer wants to know.
            let _ = pipe.write_all(words);
        }
    }
}

/// Forks into the background; there, standard output and error go to the file `log`.
///
/// Nothing may be open but the standard streams: what is stays open in the daemon.
pub fn detach(log: &Path) -> io::Result<Detached> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    let (reader, writer) = pipe()?;
    let daemon =
        Daemonize::new().working_directory("/").umask(0o077).stdout(log.try_clone()?).stderr(log);
    match daemon.execute() {
        Outcome::Parent(forked) => {
            drop(writer);
            let forked = forked.map_err(io::Error::other)?;
            if forked.first_child_exit_code != 0 {
                return Ok(Detached::Parent(Err("the daemon could not detach".to_owned())));
            }
            Ok(Detached::Parent(wait_for_word(reader)?))
        }
        Outcome::Child(child) => {
            child.map_err(io::Error::other)?;
            drop(reader);
            Ok(Detached::Child(Readiness { pipe: Some(writer) }))
        }
    }
}

fn pipe() -> io::Result<(File, File)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for the two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `pipe2` returned 0, so both are open and nobody else owns them.
    let [reader, writer] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    Ok((File::from(reader), File::from(writer)))
}

fn wait_for_word(mut pipe: File) -> io::Result<Result<(), String>> {
    if !becomes_readable(&pipe, PATIENCE)? {
        return Ok(Err(format!("the mount did not answer within {} s", PATIENCE.as_secs())));
    }
    let mut word = Vec::new();
    pipe.read_to_end(&mut word)?;
    Ok(match word.as_slice() {
        READY => Ok(()),
        b"" => Err("the daemon exited before the mount answered".to_owned()),
        why => Err(String::from_utf8_lossy(why).trim_end().to_owned()),
    })
}

fn becomes_readable(pipe: &File, within: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = libc::c_int::try_from(within.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `poll` is one valid entry, and the call does not outlive it.
    match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(false),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(say: impl FnOnce(Readiness)) -> Result<(), String> {
        let (reader, writer) = pipe().unwrap();
        say(Readiness { pipe: Some(writer) });
        wait_for_word(reader).unwrap()
    }

    #[test]
    fn the_parent_hears_of_success_failure_and_sudden_death() {
        assert_eq!(said(Readiness::ready), Ok(()));
        assert_eq!(said(|it| it.failed("no such folder")), Err("no such folder".to_owned()));
        assert!(said(drop).unwrap_err().contains("exited"));
    }
}
