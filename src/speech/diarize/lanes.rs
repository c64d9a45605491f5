//! Several threads that share a row of jobs, with the results in the order of the jobs.

use std::sync::mpsc::sync_channel;
use std::thread;

use crate::speech::{Go, SpeechError};

/// Does `count` jobs, each on one of the `lanes`, and hands the results to `take` in order.
///
/// The jobs are dealt out in turn, so every lane is at most two results ahead of `take` and memory stays
/// bounded. Jobs should cost about the same. When `take` says stop or a job fails, lanes end after the job at hand.
pub(crate) fn in_order<Lane: Send, Done: Send>(
    lanes: &mut [Lane],
    count: usize,
    work: impl Fn(&mut Lane, usize) -> Result<Done, SpeechError> + Sync,
    mut take: impl FnMut(usize, Done) -> Go,
) -> Result<(), SpeechError> {
    let width = lanes.len();
    thread::scope(|scope| {
        let mut results = Vec::with_capacity(width);
        for (first, lane) in lanes.iter_mut().enumerate() {
            let (send, receive) = sync_channel(1);
            results.push(receive);
            let work = &work;
            let run = move || {
                for job in (first..count).step_by(width) {
                    if send.send(work(lane, job)).is_err() {
                        return;
                    }
                }
            };
            let named = thread::Builder::new().name(format!("diarize-{first}"));
            let spawned = named.spawn_scoped(scope, run);
            spawned.map_err(|err| SpeechError::Engine(format!("no thread for a lane: {err}")))?;
        }
        for job in 0..count {
            let done = results[job % width].recv();
            let done = done.map_err(|_| SpeechError::Engine("a lane broke off".into()))?;
            if take(job, done?) == Go::Stop {
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
        let mut lanes = [0_usize; 3];
        let work = |lane: &mut usize, job: usize| {
            *lane += 1;
            Ok(job * 10)
        };
        let take = |job, done| {
            seen.push((job, done));
            Go::On
        };
        in_order(&mut lanes, 7, work, take).unwrap();
        assert_eq!(seen, (0..7).map(|job| (job, job * 10)).collect::<Vec<_>>());
        assert_eq!(lanes, [3, 2, 2]);
    }

    #[test]
    fn a_stop_ends_all_lanes() {
        let work = |_: &mut (), job: usize| Ok(job);
        let take = |job, _| if job == 2 { Go::Stop } else { Go::On };
        let ended = in_order(&mut [(), ()], 1_000_000_000, work, take);
        assert!(matches!(ended, Err(SpeechError::Stopped)));
    }

    #[test]
    fn a_failed_job_ends_the_row() {
        let work = |_: &mut (), job: usize| match job {
            3 => Err(SpeechError::Engine("broken".into())),
            _ => Ok(job),
        };
        let ended = in_order(&mut [(), ()], 10, work, |_, _| Go::On);
        assert!(matches!(ended, Err(SpeechError::Engine(why)) if why == "broken"));
    }

    #[test]
    fn no_jobs_are_done_at_once() {
        in_order(&mut [()], 0, |_, job| Ok(job), |_, _| Go::On).unwrap();
    }
}
