//! Threads that must be there as long as the mount is: one that has ended by an error would be missed by nobody but
//! the users whose calls it no longer answers. (One that panics ends the process.)

use std::collections::BTreeMap;
use std::fs;

/// Every writing daemon has these. With a dash at the end a number follows; the kernel keeps 15 bytes of a name.
const ALWAYS: [&str; 14] = [
    "fuser-",
    "fs-session",
    "fs-published",
    "fs-dropped",
    "fs-pages",
    "fs-tick",
    "spool-timer",
    "index",
    "dispatcher",
    "pages",
    "decode-",
    "runner-",
    "control",
    "signals",
];

/// These are there where the settings want them, some of them only when a bucket has answered.
const WHERE_WANTED: [&str; 6] =
    ["spool-watch", "follow", "trash", "lease", "maintenance", "upload-"];

fn is_needed(name: &str) -> bool {
    ALWAYS.iter().chain(&WHERE_WANTED).any(|needed| match name.strip_prefix(needed) {
        Some("") => true,
        Some(number) => needed.ends_with('-') && number.bytes().all(|byte| byte.is_ascii_digit()),
        None => false,
    })
}

/// How many threads of each needed name there were.
#[derive(Debug)]
pub(crate) struct ThreadCheck(BTreeMap<String, usize>);

impl ThreadCheck {
    /// Of this process, now.
    pub(crate) fn take() -> Self {
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        Self::of(names.map(|name| name.trim_end().to_owned()))
    }

    fn of(names: impl Iterator<Item = String>) -> Self {
        let mut counts = BTreeMap::new();
        for name in names.filter(|name| is_needed(name)) {
            *counts.entry(name).or_default() += 1;
        }
        Self(counts)
    }

    /// Threads that are there in the `later` one and were not before count from now on.
    pub(crate) fn add_new_in(&mut self, later: Self) {
        for (name, count) in later.0 {
            let known = self.0.entry(name).or_default();
            *known = count.max(*known);
        }
    }

    /// A thread that was there in this check and is not in the `later` one.
    pub(crate) fn missing_in(&self, later: &Self) -> Option<&str> {
        let is_missing = |(name, count): &(&String, &usize)| {
            later.0.get(name.as_str()).copied().unwrap_or(0) < **count
        };
        self.0.iter().find(is_missing).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::Builder;

    use super::*;

    #[test]
    fn a_needed_thread_that_has_ended_is_missed_and_another_one_is_not() {
        let (ends, waits) = channel::<()>();
        let (other_ends, other_waits) = channel::<()>();
        let (begins, begun) = channel::<()>();
        let run = move || {
            begins.send(()).unwrap();
            waits.recv()
        };
        let thread = Builder::new().name("runner-77".into()).spawn(run).unwrap();
        // A thread takes its name when it begins.
        begun.recv().unwrap();
        let other = Builder::new().name("scratch-77".into()).spawn(move || other_waits.recv());
        let before = ThreadCheck::take();
        assert_eq!(before.0.get("runner-77"), Some(&1), "{before:?}");
        drop(other_ends);
        other.unwrap().join().unwrap().unwrap_err();
        let mine = |thread_check: &ThreadCheck| thread_check.0.get("runner-77").copied();
        assert_eq!(mine(&ThreadCheck::take()), Some(1));
        drop(ends);
        thread.join().unwrap().unwrap_err();
        let after = ThreadCheck(BTreeMap::from_iter(
            mine(&ThreadCheck::take()).map(|it| ("runner-77".into(), it)),
        ));
        let before = ThreadCheck(BTreeMap::from([("runner-77".to_owned(), 1)]));
        assert_eq!(before.missing_in(&after), Some("runner-77"));
        assert_eq!(before.missing_in(&before), None);
    }

    #[test]
    fn what_begins_later_is_counted_from_then_on_and_what_only_starts_others_is_not() {
        let of = |names: &[&str]| ThreadCheck::of(names.iter().map(|name| (*name).to_owned()));
        let mut thread_check = of(&["index", "upload-start"]);
        let later = of(&["index", "maintenance", "upload-0", "upload-1"]);
        assert_eq!(thread_check.missing_in(&later), None);
        thread_check.add_new_in(later);
        assert_eq!(
            thread_check.missing_in(&of(&["index", "upload-0", "upload-1"])),
            Some("maintenance")
        );
        assert_eq!(
            thread_check.missing_in(&of(&["index", "maintenance", "upload-1"])),
            Some("upload-0")
        );
    }
}
