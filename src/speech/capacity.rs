//! How many threads engines use here. More of them than cores do no more, and each one takes memory.

use std::collections::BTreeSet;
use std::fs;

/// Beyond this, two recordings at once do more than one that is spread further.
const MOST_THREADS: u16 = 8;

/// Memory of the engines beside what each thread takes: weights, the sound's features.
const BASE_MB: u64 = 500;
/// Memory of each thread: activations of the segmentation network, of the trunk and of the recognizer.
const THREAD_MB: u64 = 400;

/// Of the `asked` threads, those that there are cores and memory for. At least one.
pub fn usable_threads(asked: u16, memory_mb: u64) -> u16 {
    usable(asked, physical_cores().unwrap_or(asked), memory_mb)
}

fn usable(asked: u16, cores: u16, memory_mb: u64) -> u16 {
    let room = memory_mb.saturating_sub(BASE_MB) / THREAD_MB;
    let room = u16::try_from(room).unwrap_or(u16::MAX);
    asked.min(cores).min(MOST_THREADS).min(room).max(1)
}

/// Cores, each counted once however many threads it runs; `None` where the kernel does not tell.
fn physical_cores() -> Option<u16> {
    let mut cores = BTreeSet::new();
    for entry in fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        // Those that run on one core name the same siblings.
        let siblings = entry.path().join("topology/thread_siblings_list");
        cores.extend(fs::read_to_string(siblings).ok());
    }
    u16::try_from(cores.len()).ok().filter(|cores| 0 < *cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_bounded_by_cores_by_memory_and_by_sense() {
        assert_eq!(usable(2, 16, 4096), 2);
        assert_eq!(usable(16, 4, 4096), 4);
        assert_eq!(usable(64, 64, 1 << 20), 8);
        assert_eq!(usable(16, 16, 1700), 3);
        assert_eq!(usable(0, 16, 4096), 1);
        assert_eq!(usable(4, 4, 0), 1);
    }

    #[test]
    fn this_machine_has_cores() {
        let threads = std::thread::available_parallelism().unwrap().get();
        assert!(physical_cores().is_none_or(|cores| usize::from(cores) <= threads.max(1) * 2));
    }
}
