//! Runs jobs on several threads and returns their results in order.

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::speech::SpeechError;

/// Does `count` jobs, each on one of the `workers`, and hands the results to `take` in order.
///
/// The jobs are dealt out in turn, so every worker is at most two results ahead of `take` and memory stays
/// bounded. Jobs should cost about the same. When `take` says stop or a job fails, workers end after the job at hand.
pub(crate) fn in_order<Worker: Send, Done: Send>(
    workers: &mut [Worker],
    count: usize,
    work: impl Fn(&mut Worker, usize) -> Result<Done, SpeechError> + Sync,
    mut take: impl FnMut(usize, Done) -> ControlFlow<()>,
) -> Result<(), SpeechError> {
    let width = workers.len();
    thread::scope(|scope| {
        let mut results = Vec::with_capacity(width);
        for (first, worker) in workers.iter_mut().enumerate() {
            let (send, receive) = sync_channel(1);
            results.push(receive);
            let work = &work;
            let run = move || {
                for job in (first..count).step_by(width) {
                    if send.send(work(worker, job)).is_err() {
                        return;
                    }
                }
            };
            let named = thread::Builder::new().name(format!("diarize-{first}"));
            let spawned = named.spawn_scoped(scope, run);
            spawned.map_err(|err| SpeechError::Engine(format!("no thread for a worker: {err}")))?;
        }
        for job in 0..count {
            let done = results[job % width].recv();
            let done = done.map_err(|_| SpeechError::Engine("a worker broke off".into()))?;
            if take(job, done?).is_break() {
                return Err(SpeechError::Stopped);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let mut seen = Vec::new();
        let mut workers = [0_usize; 3];
        let work = |worker: &mut usize, job: usize| {
            *worker += 1;
            Ok(job * 10)
        };
        let take = |job, done| {
            seen.push((job, done));
            ControlFlow::Continue(())
        };
        in_order(&mut workers, 7, work, take).unwrap();
        assert_eq!(seen, (0..7).map(|job| (job, job * 10)).collect::<Vec<_>>());
        assert_eq!(workers, [3, 2, 2]);
    }

    #[test]
    fn a_stop_ends_all_workers() {
        let work = |_: &mut (), job: usize| Ok(job);
        let take =
            |job, _| if job == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let ended = in_order(&mut [(), ()], 1_000_000_000, work, take);
        assert!(matches!(ended, Err(SpeechError::Stopped)));
    }

    #[test]
    fn a_failed_job_ends_the_run() {
        let work = |_: &mut (), job: usize| match job {
            3 => Err(SpeechError::Engine("broken".into())),
            _ => Ok(job),
        };
        let ended = in_order(&mut [(), ()], 10, work, |_, _| ControlFlow::Continue(()));
        assert!(matches!(ended, Err(SpeechError::Engine(why)) if why == "broken"));
    }

    #[test]
    fn no_jobs_are_done_at_once() {
        in_order(&mut [()], 0, |_, job| Ok(job), |_, _| ControlFlow::Continue(())).unwrap();
    }
}
