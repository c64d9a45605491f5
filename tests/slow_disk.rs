//! A disk that takes its time holds up who waits for it, and nobody else.

mod common;

use std::fs::{self, File};
use std::process::Command;

use common::{World, day, names, until};

/// More than there are threads that answer the kernel.
const WAITING: usize = 24;

#[test]
fn syncs_and_commits_that_take_long_hold_up_nobody_else() {
    let test = "syncs_and_commits_that_take_long_hold_up_nobody_else";
    let Some(world) = World::new(test) else { return };
    for at in 0..WAITING {
        world.publish(&format!("standup-{at}"), day(2024, 1, 15), "monday.wav");
        fs::write(world.path(&format!("inbox/{at}.txt")), "x").unwrap();
    }
    until("all is listed", || (names(world.path("conversations")).len() == WAITING).then_some(()));
    fail::cfg("spool-file-synced", "pause").unwrap();
    fail::cfg("index-before-commit", "pause").unwrap();
    std::thread::scope(|scope| {
        let syncs: Vec<_> = (0..WAITING)
            .map(|at| {
                let file = File::options()
                    .write(true)
                    .open(world.path(&format!("inbox/{at}.txt")))
                    .unwrap();
                scope.spawn(move || file.sync_all())
            })
            .collect();
        let renames: Vec<_> = (0..WAITING)
            .map(|at| {
                let folder = world.path("conversations");
                let (from, to) =
                    (folder.join(format!("standup-{at}")), folder.join(format!("renamed-{at}")));
                scope.spawn(move || fs::rename(from, to))
            })
            .collect();
        // None of them comes back, and everybody else is answered: folders that the kernel does not know yet, too.
        for below in ["conversations/standup-3/2024", "inbox", ".scribefs"] {
            let output = Command::new("timeout")
                .args(["120", "ls", "-l"])
                .arg(world.path(below))
                .output()
                .unwrap();
            assert!(output.status.success(), "{below}: {output:?}");
        }
        fs::write(world.path("inbox/new.txt"), "x").unwrap();
        assert!(syncs.iter().all(|sync| !sync.is_finished()));
        assert!(renames.iter().all(|rename| !rename.is_finished()));
        fail::remove("spool-file-synced");
        fail::remove("index-before-commit");
        for call in syncs.into_iter().chain(renames) {
            call.join().unwrap().unwrap();
        }
    });
    until("all have their names", || {
        names(world.path("conversations"))
            .iter()
            .all(|name| name.starts_with("renamed-"))
            .then_some(())
    });
}
