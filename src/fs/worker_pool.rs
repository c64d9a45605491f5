//! `WorkerPool`: a few named threads for what takes long, so that those that answer the kernel never wait.
//!
//! Tasks begin in the order in which they came. A thread is started when all others are busy, the first one with
//! the first task.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Tasks that may wait for a thread. Each is a request of the kernel, which a caller waits for, so there are
/// hardly ever so many; one more is refused.
const QUEUE: usize = 4096;

/// Enough for what the tasks do, and 256 of them cost little.
const STACK_BYTES: usize = 512 << 10;

/// Whether a task gets its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    /// Too many wait, or the pool is stopped.
    Never,
}

/// Called once, in any case: a caller waits for its reply.
pub(crate) type Task = Box<dyn FnOnce(Turn) + Send>;

pub(crate) struct WorkerPool {
    name: &'static str,
    most: usize,
    shared: Arc<Shared>,
    /// Guards the handles until they are joined.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    queued: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    idle_threads: usize,
    is_stopping: bool,
}

impl WorkerPool {
    /// At most `most` threads, called `name` and a number.
    pub(crate) fn new(name: &'static str, most: usize) -> Self {
        let shared = Shared { queue: Mutex::default(), queued: Condvar::new() };
        Self { name, most, shared: Arc::new(shared), threads: Mutex::default() }
    }

    pub(crate) fn submit(&self, task: Task) {
        let mut queue = self.shared.lock();
        if queue.is_stopping || QUEUE <= queue.tasks.len() {
            drop(queue);
            return task(Turn::Never);
        }
        queue.tasks.push_back(task);
        let needs_thread = queue.idle_threads < queue.tasks.len();
        drop(queue);
        self.shared.queued.notify_one();
        if needs_thread {
            self.add_thread();
        }
    }

    fn add_thread(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if self.most <= threads.len() {
            return;
        }
        let shared = self.shared.clone();
        let thread = Builder::new()
            .name(format!("{}-{}", self.name, threads.len()))
            .stack_size(STACK_BYTES)
            .spawn(move || shared.work());
        match thread {
            Ok(thread) => threads.push(thread),
            Err(err) if threads.is_empty() => {
                log::error!("mount: cannot start a thread for {}: {err}", self.name);
                drop(threads);
                // Nobody else would answer.
                let tasks = std::mem::take(&mut self.shared.lock().tasks);
                tasks.into_iter().for_each(|task| task(Turn::Never));
            }
            // The others do it.
            Err(_) => {}
        }
    }

    /// Does what is queued, and joins the threads. What comes later is refused.
    pub(crate) fn stop(&self) {
        self.shared.lock().is_stopping = true;
        self.shared.queued.notify_all();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                log::error!("mount: a thread of {} has panicked", self.name);
            }
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                drop(queue);
                task(Turn::Now);
                queue = self.lock();
            } else if queue.is_stopping {
                return;
            } else {
                queue.idle_threads += 1;
                queue = self.queued.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle_threads -= 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn tasks_that_hang_do_not_keep_others_from_their_turn() {
        let pool = WorkerPool::new("test", 4);
        let (release, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..3 {
            let held = held.clone();
            pool.submit(Box::new(move |_| {
                // Ends when the sender is gone.
                let _ = held.lock().unwrap().recv();
            }));
        }
        let (done, heard) = channel();
        for number in 0..100 {
            let done = done.clone();
            pool.submit(Box::new(move |turn| done.send((number, turn)).unwrap()));
        }
        let expected: Vec<_> = (0..100).map(|number| (number, Turn::Now)).collect();
        assert_eq!(heard.iter().take(100).collect::<Vec<_>>(), expected);
        drop(release);
        pool.stop();
        pool.submit(Box::new(move |turn| done.send((100, turn)).unwrap()));
        assert_eq!(heard.recv().unwrap(), (100, Turn::Never));
    }

    #[test]
    fn a_full_queue_refuses_and_forgets_nobody() {
        let pool = WorkerPool::new("test", 1);
        let (release, held) = channel::<()>();
        let (done, heard) = channel();
        pool.submit(Box::new(move |_| {
            let _ = held.recv();
        }));
        for _ in 0..2 * QUEUE {
            let done = done.clone();
            pool.submit(Box::new(move |turn| done.send(turn).unwrap()));
        }
        drop((release, done));
        pool.stop();
        let turns: Vec<Turn> = heard.iter().collect();
        assert_eq!(turns.len(), 2 * QUEUE);
        assert!(turns.contains(&Turn::Never));
    }
}
