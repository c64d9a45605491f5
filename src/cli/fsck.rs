//! `fsck` and `gc`: whether index, local disk and bucket agree, and what lies about.

use std::process::ExitCode;

use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::arguments::{Fsck, Gc};
use crate::cli::print::{self, CliError};
use crate::cli::progress;
use crate::cli::stores::{self, Opened};
use crate::config::Config;
use crate::daemon::Environment;
use crate::model::printable;
use crate::publishing::{self, Stores, StoresError};
use crate::store::Foreign;
use crate::upkeep::{self, Counts, Depth, Finding, Orphan, Problem, Where};

pub(crate) fn fsck(args: &Fsck, environment: &Environment) -> Result<ExitCode, CliError> {
    let config = args.settings.config(environment)?;
    let opened = Opened::open_existing(&config)?;
    let is_clean = match args.repair {
        true => opened.under_lease(&config, false, |stores| {
            let placed = opened.placed(&config)?;
            publishing::take_back_claims(&placed, &opened.index).map_err(StoresError::Index)?;
            publishing::write_pages_due(&placed, &opened.index).map_err(StoresError::Index)?;
            check(args, stores, &opened)
        }),
        false => check(args, opened.stores(), &opened),
    }?;
    if let Some(bucket) = &opened.bucket {
        name_foreign(&bucket.take_foreign());
    }
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether nothing is left to be mended.
fn check(args: &Fsck, stores: Stores<'_>, opened: &Opened) -> Result<bool, CliError> {
    let depth = if args.deep { Depth::Contents } else { Depth::Sizes };
    let bar = progress_bar(opened.recordings()?);
    let (mut tally, mut told) = (Tally::default(), Vec::new());
    let mut found = |finding: Finding| -> Result<(), CliError> {
        let is_mended = args.repair && upkeep::mend(stores, &finding)?;
        tally.note(&finding, is_mended);
        match args.json {
            true => told.push(as_json(&finding, is_mended)),
            false => bar.suspend(|| print::print(as_text(&finding, is_mended)))?,
        }
        Ok(())
    };
    let counts = upkeep::inspect(stores, depth, Timestamp::now(), &mut |_| bar.inc(1), &mut found)?;
    bar.finish_and_clear();
    let Counts { recordings, objects } = counts;
    match args.json {
        true => print::print_json(
            &json!({ "recordings": recordings, "objects": objects, "findings": told }),
        )?,
        false => print::print(verdict(counts, tally))?,
    }
    Ok(tally.found == tally.mended)
}

/// How much was found. What is not scribefs's is nobody's fault.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    found: u64,
    mended: u64,
}

impl Tally {
    fn note(&mut self, finding: &Finding, is_mended: bool) {
        if !matches!(finding.fault, Problem::Foreign { .. }) {
            self.found += 1;
            self.mended += u64::from(is_mended);
        }
    }
}

/// Names that cannot be scribefs' are nobody's fault, and are left alone.
fn name_foreign(foreign: &Foreign) {
    if foreign.count == 0 {
        return;
    }
    print::remark(&format!("{} objects in the bucket do not belong to scribefs:", foreign.count));
    for name in &foreign.named {
        print::remark(&format!("  {name}"));
    }
}

fn progress_bar(recordings: u64) -> ProgressBar {
    progress::bar(recordings, "{bar:24} {pos}/{len} recordings")
}

fn as_json(finding: &Finding, is_mended: bool) -> Value {
    let mut json = serde_json::to_value(finding).unwrap_or_default();
    json["mended"] = is_mended.into();
    json
}

fn as_text(finding: &Finding, is_mended: bool) -> String {
    let rest = if is_mended { "repaired" } else { remedy(finding) };
    format!("{}\n", printable(&format!("{}: {}; {rest}", finding.key, finding.fault)))
}

fn verdict(counts: Counts, tally: Tally) -> String {
    let recordings = print::counted(counts.recordings, "recording");
    let objects = print::counted(counts.objects, "object");
    let verdict = match (tally.found, tally.mended) {
        (0, _) => "no problems".to_owned(),
        (found, 0) => format!("problems found: {found}"),
        (found, mended) => format!("problems found: {found}, repaired: {mended}"),
    };
    format!("{recordings}, {objects}: {verdict}\n")
}

/// What to do about it.
fn remedy(finding: &Finding) -> &'static str {
    match finding.fault {
        Problem::Missing { .. } | Problem::Size { .. } | Problem::Content { .. } => {
            "`scribefs fsck --repair` restores it from the other copy, or writes it again from the json page, and \
             that one from the subtitles; if that fails, drop the recording into the inbox once more, or restore \
             what is lost from a backup under this key"
        }
        Problem::Unindexed { .. } => "`scribefs fsck --repair` adds it to the index",
        Problem::Strange { .. } => {
            "restore the files it names, or move it away together with the files beside it"
        }
        Problem::Orphan { .. } => "`scribefs gc --yes` removes it",
        Problem::OnlyCopy { .. } => {
            "it is kept: drop a recording into the inbox to transcribe it again, and move away what you do not \
             need"
        }
        Problem::Foreign { .. } => "it is left alone",
    }
}

pub(crate) fn gc(args: &Gc, environment: &Environment) -> Result<ExitCode, CliError> {
    let config = args.settings.config(environment)?;
    // What dead publications had begun to write is swept away by opening.
    let opened = Opened::open_existing(&config)?;
    match args.yes {
        // Nobody else may be writing to what is cleared up here.
        true => opened.under_lease(&config, true, |stores| clear_up(args, stores, &config)),
        false => clear_up(args, opened.stores(), &config),
    }
}

fn clear_up(args: &Gc, stores: Stores<'_>, config: &Config) -> Result<ExitCode, CliError> {
    let left = upkeep::orphans(stores, Timestamp::now())?;
    for Orphan { place, key } in &left.orphans {
        print::print(format!("{}  {}\n", place_of(*place), printable(key.as_str())))?;
    }
    for ((place, folder), count) in &left.foreign {
        let (place, folder) = (place_of(*place), printable(folder));
        print::remark(&format!(
            "{place}  {folder}: {count} files do not belong to scribefs and are left alone"
        ));
    }
    if left.only_copies != 0 {
        print::remark(&format!(
            "kept {} that no recording names, because there is no other copy; `scribefs fsck` lists them",
            print::counted(left.only_copies as u64, "file")
        ));
    }
    let files = print::counted(left.orphans.len() as u64, "file");
    if left.orphans.is_empty() && !args.yes {
        print::remark("nothing to remove");
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        print::remark(&format!("{files} would be removed; `scribefs gc --yes` removes them"));
        return Ok(ExitCode::SUCCESS);
    }
    for orphan in &left.orphans {
        upkeep::remove_orphan(stores, orphan)?;
    }
    if let Some(cache) = stores::cache(config)? {
        upkeep::clear_cache(stores, &cache)?;
    }
    match left.orphans.is_empty() {
        true => print::remark("nothing to remove"),
        false => print::remark(&format!("{files} removed")),
    }
    Ok(ExitCode::SUCCESS)
}

fn place_of(place: Where) -> &'static str {
    match place {
        Where::Disk => "disk",
        Where::Bucket => "bucket",
    }
}
