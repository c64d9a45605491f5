//! `Pulse`: tells an engine that works from one that hangs, so that long silent work is not taken for a stall.

use std::fs;
use std::ops::ControlFlow;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::speech::SpeechError;

/// Time between two looks at the process.
pub(crate) const PULSE: Duration = Duration::from_secs(2);
/// CPU time within one pulse that shows life.
const SIGN_OF_LIFE: Duration = Duration::from_millis(200);
/// Pulses without a result after which even a busy engine is given up: half an hour.
const MOST_PULSES: u32 = 900;

/// Watches what this process uses: processor time, or bytes from the disk while a model is loaded.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    used: Duration,
    read_bytes: u64,
    count: u32,
}

impl Pulse {
    pub(crate) fn beats(&mut self) -> bool {
        let (used, read_bytes) = (processor_time(), bytes_read());
        let is_alive = self.used + SIGN_OF_LIFE <= used || self.read_bytes < read_bytes;
        (self.used, self.read_bytes) = (used, read_bytes);
        self.count += 1;
        is_alive && self.count < MOST_PULSES
    }

    /// Something is done: the half hour begins anew.
    pub(crate) fn reset(&mut self) {
        self.count = 0;
    }
}

/// Does `work`, which reports nothing by itself, on a thread of its own. `beat` is called every few seconds
/// as long as the process is alive; where it says stop, `work` still comes to its end first.
pub fn with_heartbeat<T: Send>(
    work: impl FnOnce() -> Result<T, SpeechError> + Send,
    beat: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<T, SpeechError> {
    let (sender, done) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Nobody waits any more where the caller was told to stop.
            let _ = sender.send(work());
        });
        let mut pulse = Pulse::default();
        loop {
            match done.recv_timeout(PULSE) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => {
                    if pulse.beats() && beat().is_break() {
                        return Err(SpeechError::Stopped);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SpeechError::Engine("a thread of the engine has died".to_owned()));
                }
            }
        }
    })
}

fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` has room for what is written.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// From the disk, pages of mapped files included; 0 where the kernel does not tell.
fn bytes_read() -> u64 {
    let all = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn work_that_is_silent_but_busy_beats_until_it_is_done() {
        let has_beaten = AtomicBool::new(false);
        let done = with_heartbeat(
            || {
                let mut sum = 0_u64;
                while !has_beaten.load(Ordering::Relaxed) {
                    sum = std::hint::black_box(sum.wrapping_add(1));
                }
                Ok(sum)
            },
            &mut || {
                has_beaten.store(true, Ordering::Relaxed);
                ControlFlow::Continue(())
            },
        );
        assert!(done.is_ok_and(|sum| 0 < sum));
    }

    #[test]
    fn a_pulse_without_any_work_does_not_beat() {
        let mut pulse =
            Pulse { used: Duration::from_secs(1 << 30), read_bytes: u64::MAX, count: 0 };
        assert!(!pulse.beats());
    }

    #[test]
    fn what_fails_or_breaks_off_says_so() {
        let failed =
            with_heartbeat::<()>(|| Err(SpeechError::Stopped), &mut || ControlFlow::Continue(()));
        assert!(matches!(failed, Err(SpeechError::Stopped)));
    }
}
