//! The one place where blocking code waits for async code.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

#[cfg(feature = "s3")]
pub(crate) use crate::store::blocking::network::Network;

/// Runs a future on this thread. For futures that need no reactor, such as those of local disks.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(feature = "s3")]
mod network {
    use std::future::Future;
    use std::io;
    use std::pin::pin;
    use std::time::Duration;

    use tokio::runtime::{Builder, Handle, Runtime};
    use tokio::time::timeout;

    use crate::store::boot_time;

    /// The runtime's clock stands still in suspend. After it a wait ends within this time.
    const TICK: Duration = Duration::from_millis(250);

    /// Threads that carry bytes while callers wait. Signing and hashing is done by the callers themselves.
    const THREADS: usize = 2;

    /// Threads that look up names, which may hang for as long as the system's resolver does.
    const RESOLVERS: usize = 4;

    /// What futures that talk to a network run on: two threads, started with it and ended with it.
    #[derive(Debug)]
    pub(crate) struct Network {
        handle: Handle,
        /// `None` only while it is dropped.
        runtime: Option<Runtime>,
    }

    /// The answer did not come in time. Whether the request was carried out is not known.
    #[derive(Debug, thiserror::Error)]
    #[error("no answer within {within:?}")]
    pub(crate) struct TooLate {
        within: Duration,
    }

    impl Network {
        /// Starts the threads: not before a daemon has detached, since a fork keeps none.
        pub(crate) fn start() -> io::Result<Self> {
            let runtime = Builder::new_multi_thread()
                .worker_threads(THREADS)
                .max_blocking_threads(RESOLVERS)
                .thread_name("bucket")
                .enable_all()
                .build()?;
            Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
        }

        /// Runs a future on this thread, for as long as `longest`. Suspend counts: what was begun before may be
        /// anything but welcome after it.
        ///
        /// # Panics
        /// On a thread of a runtime.
        pub(crate) fn wait<F: Future>(
            &self,
            longest: Duration,
            future: F,
        ) -> Result<F::Output, TooLate> {
            self.wait_by(&boot_time, longest, future)
        }

        fn wait_by<F: Future>(
            &self,
            clock: &dyn Fn() -> Duration,
            longest: Duration,
            future: F,
        ) -> Result<F::Output, TooLate> {
            let end = clock().saturating_add(longest);
            let mut future = pin!(future);
            self.handle.block_on(async {
                loop {
                    let left = end.saturating_sub(clock());
                    match timeout(left.min(TICK), future.as_mut()).await {
                        Ok(output) => return Ok(output),
                        Err(_) if clock() < end => {}
                        Err(_) => return Err(TooLate { within: longest }),
                    }
                }
            })
        }
    }

    impl Drop for Network {
        fn drop(&mut self) {
            if let Some(runtime) = self.runtime.take() {
                // A name that is still being looked up is not waited for.
                runtime.shutdown_timeout(Duration::from_secs(1));
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::future::pending;
        use std::sync::atomic::{AtomicU64, Ordering};
        use std::time::{Duration, Instant};

        use super::*;

        #[test]
        fn who_waits_for_ever_is_sent_home() {
            let network = Network::start().unwrap();
            let late = network.wait(Duration::from_millis(10), pending::<()>()).unwrap_err();
            assert_eq!(late.to_string(), "no answer within 10ms");
            assert_eq!(network.wait(Duration::from_secs(10), async { 7 }).unwrap(), 7);
        }

        #[test]
        fn time_in_suspend_counts() {
            let network = Network::start().unwrap();
            let begun = Instant::now();
            // An hour goes by between two looks.
            let looks = AtomicU64::new(0);
            let clock = || Duration::from_hours(looks.fetch_add(1, Ordering::Relaxed));
            let ten_minutes = Duration::from_mins(10);
            assert!(network.wait_by(&clock, ten_minutes, pending::<()>()).is_err());
            assert!(begun.elapsed() < ten_minutes / 2);
        }
    }
}
