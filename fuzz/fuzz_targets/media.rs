//! See `tests/hostile/targets.rs`, which has the body.
#![no_main]

#[path = "../../tests/hostile/targets.rs"]
#[allow(dead_code, reason = "each fuzz target uses one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::media(bytes));
