//! The `scribefs` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    scribefs::cli::main()
}
