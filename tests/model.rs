//! Random operations on inbox, conversations and jobs, with restarts in between, against a naive model in
//! memory: over plain Rust in thousands, and over a real mount in hundreds.
//!
//! After each operation the whole tree is compared, bytes and all. A failing sequence is made as short as it
//! can be by proptest and printed.

mod common;
mod model_world;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use common::skip;
use model_world::mounted::Mounted;
use model_world::naive::Naive;
use model_world::operation::{Operation, operations};
use model_world::plain::Plain;
use model_world::{Inbox, Rig};

/// The full run is ten times as long.
fn cases(short: u32) -> u32 {
    if std::env::var_os("SCRIBEFS_FULL").is_some() { 10 * short } else { short }
}

fn check<I: Inbox>(cases: u32, start: impl Fn() -> I) {
    // A note that does not come is waited for: that must not be tried for hours.
    let (failure_persistence, max_shrink_time) = (None, 120_000);
    let config = Config { cases, failure_persistence, max_shrink_time, ..Config::default() };
    let result = TestRunner::new(config).run(&operations(), |operations| {
        let mut rig = Rig::new(start());
        let mut model = Naive::default();
        for (number, operation) in operations.iter().enumerate() {
            step(&mut rig, &mut model, operation)
                .map_err(|why| TestCaseError::fail(format!("{number}, {operation:?}: {why}")))?;
        }
        Ok(())
    });
    if let Err(err) = result {
        panic!("{err}");
    }
}

/// One operation on both, and the comparison of all that can be seen afterwards.
fn step<I: Inbox>(
    rig: &mut Rig<I>,
    model: &mut Naive,
    operation: &Operation,
) -> Result<(), String> {
    let before = model.foresee(operation);
    let wanted = model.apply(operation);
    let got = rig.apply(operation, &before);
    if !rig.inbox.agrees(wanted, got) {
        return Err(format!("the model says {wanted:?}, scribefs {got:?}"));
    }
    rig.compare(model)
}

#[test]
fn plain_rust_does_what_the_naive_model_does() {
    check(cases(500), Plain::start);
}

#[test]
fn a_mount_does_what_the_naive_model_does() {
    let test = "a_mount_does_what_the_naive_model_does";
    if std::fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        return skip(test, "/dev/fuse cannot be opened");
    }
    check(cases(30), || Mounted::start(test));
}

proptest! {
    #![proptest_config(Config { cases: 64, failure_persistence: None, ..Config::default() })]

    /// The model itself: what it says is there can be removed, and nothing is left.
    #[test]
    fn the_model_can_be_emptied(operations in operations()) {
        let mut model = Naive::default();
        for operation in &operations {
            // Only what the model makes of it counts here.
            let _ = model.apply(operation);
        }
        model.remove_everything();
        prop_assert!(model.tree().is_empty());
    }
}
