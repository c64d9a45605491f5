//! Every named fail point of the code, and what leads to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What is done while the daemon may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Drop,
    DropSynced,
    DropBroken,
    RenameInInbox,
    NameSpeaker,
    RenameConversation,
    /// A whole conversation.
    Trash,
    Restore,
    TrashRecording,
    RestoreRecording,
    /// What is in the trash is removed for good. A daemon does so after an hour at the earliest: here a process of
    /// the test does it, over the state that the daemon has left.
    Purge,
    /// Waits until the copies of what is in the bucket have made room. With a bucket only.
    Evict,
}

/// Those that are reached without a bucket.
pub(crate) const POINTS: [(&str, Action); 36] = [
    ("spool-before-mark", Action::Drop),
    ("spool-file-synced", Action::DropSynced),
    ("spool-mark-removed", Action::Drop),
    ("spool-renamed", Action::RenameInInbox),
    ("spool-before-note", Action::DropBroken),
    ("job-taken", Action::Drop),
    ("job-heard", Action::Drop),
    ("publish-before-audio", Action::Drop),
    ("store-file-staged", Action::Drop),
    ("publish-claimed", Action::Drop),
    ("publish-audio-stored", Action::Drop),
    ("publish-before-page", Action::Drop),
    ("publish-transcript-written", Action::Drop),
    ("publish-before-index", Action::Drop),
    // What the one before has left.
    ("claim-taken-back", Action::Drop),
    ("publish-before-install", Action::Drop),
    ("index-before-commit", Action::Drop),
    ("index-committed", Action::Drop),
    ("job-published", Action::Drop),
    ("spool-before-finish", Action::Drop),
    ("spool-finished", Action::Drop),
    ("name-before-pages", Action::NameSpeaker),
    ("publish-before-page", Action::NameSpeaker),
    ("publish-transcript-written", Action::NameSpeaker),
    ("rewrite-before-index", Action::NameSpeaker),
    ("rewrite-before-install", Action::NameSpeaker),
    ("fs-conversation-renamed", Action::RenameConversation),
    ("fs-changes-received", Action::RenameConversation),
    ("rename-before-pages", Action::RenameConversation),
    ("rewrite-before-index", Action::RenameConversation),
    ("rename-before-pages", Action::Trash),
    ("rename-before-pages", Action::Restore),
    ("rewrite-before-index", Action::TrashRecording),
    ("rewrite-before-install", Action::RestoreRecording),
    ("trash-before-delete", Action::Purge),
    ("trash-before-index", Action::Purge),
];

/// Those that a bucket takes.
pub(crate) const BUCKET_POINTS: [(&str, Action); 6] = [
    ("outbox-before-step", Action::Drop),
    ("outbox-before-stored", Action::Drop),
    ("outbox-before-step", Action::NameSpeaker),
    ("outbox-before-stored", Action::RenameConversation),
    ("evict-before-delete", Action::Evict),
    ("evict-before-index", Action::Evict),
];

/// Those while a dead mount is replaced: other tests, which have one, stop the daemon there.
const MOUNT_POINTS: [(&str, &str); 2] = [
    ("mount-before-beneath", include_str!("../mount.rs")),
    ("mount-dead-detached", include_str!("../restart.rs")),
];

/// The names of all fail points below `src/`.
fn in_the_code() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).unwrap();
        let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|it| it != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let calls = text.split("fail_point!(\"").skip(1);
            names.extend(calls.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    names
}

/// The two tests beside this one prove that each listed point is reached.
#[test]
fn every_fail_point_of_the_code_is_one_where_the_daemon_is_killed() {
    for (name, test) in MOUNT_POINTS {
        assert!(test.contains(name), "{name}");
    }
    let tried = POINTS.iter().chain(&BUCKET_POINTS).map(|(name, _)| *name);
    let tried = tried.chain(MOUNT_POINTS.iter().map(|(name, _)| *name)).map(str::to_owned);
    assert_eq!(tried.collect::<BTreeSet<String>>(), in_the_code());
}
