//! `version`: which scribefs this is, as a bug report wants it.

use std::env;
use std::process::ExitCode;

use crate::cli::print::{self, CliError};

pub(crate) fn version() -> Result<ExitCode, CliError> {
    let features = [
        ("sherpa", cfg!(feature = "sherpa")),
        ("whisper", cfg!(feature = "whisper")),
        ("s3", cfg!(feature = "s3")),
    ];
    let named: Vec<String> = features
        .iter()
        .map(|(name, is_on)| format!("{}{name}", if *is_on { '+' } else { '-' }))
        .collect();
    print::print(format!(
        "scribefs {}\nfeatures   {}\ntarget     {}-{}\nbuild      {}\n",
        env!("PROGRAM_VERSION"),
        named.join(" "),
        env::consts::ARCH,
        env::consts::OS,
        if cfg!(debug_assertions) { "debug" } else { "release" },
    ))?;
    Ok(ExitCode::SUCCESS)
}
