//! What may happen, as values that proptest can make and shrink.

use proptest::collection::vec;
use proptest::prelude::*;

/// Few names, so that operations meet.
const FOLDERS: [&str; 3] = ["talk", "talk/inner", "größe ☃"];
const FILES: [&str; 9] = [
    "a.wav",
    "b.wav",
    "notes.txt",
    ".hidden.wav",
    "c.wav.part",
    "talk/a.wav",
    "talk/inner/b.flac",
    "größe ☃/a.wav",
    "talk",
];
const LINKS: [&str; 2] = ["link", "talk/link"];
pub(crate) const CONVERSATIONS: [&str; 3] = ["one", "two", "three"];

/// How a rename treats what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rename {
    Replace,
    NoReplace,
    Exchange,
}

/// What becomes of a recording that was complete.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Published {
        conversation: &'static str,
        day: i8,
    },
    /// Somebody writes to it, or removes it, while it is worked on: it must not leave.
    Written,
    Removed,
    /// It fails, gets its note, and then the user does something about it.
    FailedThenTouched,
    FailedThenRewritten,
    FailedThenRemoved,
    FailedThenRenamed,
}

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// Create or cut, write, close.
    Write {
        path: &'static str,
        bytes: Vec<u8>,
    },
    WriteAt {
        path: &'static str,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        path: &'static str,
        length: u64,
    },
    MakeFolder {
        path: &'static str,
    },
    RemoveFolder {
        path: &'static str,
    },
    Remove {
        path: &'static str,
    },
    Rename {
        from: &'static str,
        to: &'static str,
        how: Rename,
    },
    Link {
        path: &'static str,
    },
    RemoveLink {
        path: &'static str,
    },
    /// Opened for writing and kept open, whatever happens to its name.
    Hold {
        path: &'static str,
    },
    WriteHeld {
        bytes: Vec<u8>,
    },
    Release,
    /// The settle time is over, and a worker takes it.
    Job {
        path: &'static str,
        end: End,
    },
    RenameConversation {
        from: &'static str,
        to: &'static str,
    },
    Trash {
        conversation: &'static str,
    },
    Restore {
        conversation: &'static str,
        to: &'static str,
    },
    Restart,
}

pub(crate) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..40)
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as O;
    let folder = || prop::sample::select(&FOLDERS[..]);
    let file = || prop::sample::select(&FILES[..]);
    let link = || prop::sample::select(&LINKS[..]);
    let any = || prop_oneof![file(), folder()];
    let conversation = || prop::sample::select(&CONVERSATIONS[..]);
    let bytes = || vec(any_byte(), 0..3000);
    prop_oneof![
        6 => (file(), bytes()).prop_map(|(path, bytes)| O::Write { path, bytes }),
        3 => (file(), 0_u64..5000, bytes())
            .prop_map(|(path, offset, bytes)| O::WriteAt { path, offset, bytes }),
        2 => (file(), 0_u64..5000).prop_map(|(path, length)| O::Truncate { path, length }),
        4 => folder().prop_map(|path| O::MakeFolder { path }),
        1 => any().prop_map(|path| O::RemoveFolder { path }),
        3 => any().prop_map(|path| O::Remove { path }),
        4 => (any(), any(), rename()).prop_map(|(from, to, how)| O::Rename { from, to, how }),
        1 => link().prop_map(|path| O::Link { path }),
        1 => link().prop_map(|path| O::RemoveLink { path }),
        2 => file().prop_map(|path| O::Hold { path }),
        2 => bytes().prop_map(|bytes| O::WriteHeld { bytes }),
        2 => Just(O::Release),
        6 => (file(), end()).prop_map(|(path, end)| O::Job { path, end }),
        1 => (conversation(), conversation())
            .prop_map(|(from, to)| O::RenameConversation { from, to }),
        1 => conversation().prop_map(|conversation| O::Trash { conversation }),
        1 => (conversation(), conversation())
            .prop_map(|(conversation, to)| O::Restore { conversation, to }),
        1 => Just(O::Restart),
    ]
}

fn any_byte() -> impl Strategy<Value = u8> {
    any::<u8>()
}

fn rename() -> impl Strategy<Value = Rename> {
    prop::sample::select(vec![
        Rename::Replace,
        Rename::Replace,
        Rename::NoReplace,
        Rename::Exchange,
    ])
}

fn end() -> impl Strategy<Value = End> {
    let published = (prop::sample::select(&CONVERSATIONS[..]), 1_i8..4)
        .prop_map(|(conversation, day)| End::Published { conversation, day });
    prop_oneof![
        6 => published,
        1 => Just(End::Written),
        1 => Just(End::Removed),
        1 => Just(End::FailedThenTouched),
        1 => Just(End::FailedThenRewritten),
        1 => Just(End::FailedThenRemoved),
        1 => Just(End::FailedThenRenamed),
    ]
}
