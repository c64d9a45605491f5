//! `fsck` and `gc`: whether index, local disk and bucket agree, and what lies about.

use std::process::ExitCode;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::arguments::{Fsck, Gc};
use crate::cli::report::{self, Trouble};
use crate::cli::stock::{self, Opened};
use crate::config::Config;
use crate::daemon::Environment;
use crate::model::printable;
use crate::publishing::{self, Stock, StockError};
use crate::store::Foreign;
use crate::upkeep::{self, Counts, Depth, Fault, Finding, Orphan, Where};

pub(crate) fn fsck(wish: &Fsck, environment: &Environment) -> Result<ExitCode, Trouble> {
    let config = wish.settings.config(environment)?;
    let opened = Opened::open_existing(&config)?;
    let is_clean = match wish.repair {
        true => opened.under_lease(&config, false, |stock| {
            let placed = opened.placed(&config)?;
            publishing::take_back_claims(&placed, &opened.index).map_err(StockError::Index)?;
            publishing::write_pages_due(&placed, &opened.index).map_err(StockError::Index)?;
            check(wish, stock, &opened)
        }),
        false => check(wish, opened.stock(), &opened),
    }?;
    if let Some(bucket) = &opened.bucket {
        name_foreign(&bucket.take_foreign());
    }
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether nothing is left to be mended.
fn check(wish: &Fsck, stock: Stock<'_>, opened: &Opened) -> Result<bool, Trouble> {
    let depth = if wish.deep { Depth::Contents } else { Depth::Sizes };
    let bar = progress_bar(opened.recordings()?);
    let (mut tally, mut told) = (Tally::default(), Vec::new());
    let mut found = |finding: Finding| -> Result<(), Trouble> {
        let is_mended = wish.repair && upkeep::mend(stock, &finding)?;
        tally.note(&finding, is_mended);
        match wish.json {
            true => told.push(as_json(&finding, is_mended)),
            false => bar.suspend(|| report::print(as_text(&finding, is_mended)))?,
        }
        Ok(())
    };
    let counts = upkeep::inspect(stock, depth, Timestamp::now(), &mut |_| bar.inc(1), &mut found)?;
    bar.finish_and_clear();
    let Counts { recordings, objects } = counts;
    match wish.json {
        true => report::print_json(
            &json!({ "recordings": recordings, "objects": objects, "findings": told }),
        )?,
        false => report::print(verdict(counts, tally))?,
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
        if !matches!(finding.fault, Fault::Foreign { .. }) {
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
    report::remark(&format!("{} objects in the bucket do not belong to scribefs:", foreign.count));
    for name in &foreign.named {
        report::remark(&format!("  {name}"));
    }
}

fn progress_bar(recordings: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} recordings");
    let bar = ProgressBar::new(recordings);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
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
    let (recordings, objects) = (HumanCount(counts.recordings), HumanCount(counts.objects));
    let verdict = match (tally.found, tally.mended) {
        (0, _) => "no problems".to_owned(),
        (found, 0) => format!("problems found: {found}"),
        (found, mended) => format!("problems found: {found}, repaired: {mended}"),
    };
    format!("{recordings} recordings, {objects} objects: {verdict}\n")
}

/// What to do about it.
fn remedy(finding: &Finding) -> &'static str {
    match finding.fault {
        Fault::Missing { .. } | Fault::Size { .. } | Fault::Content { .. } => {
            "`scribefs fsck --repair` restores it from the other copy, or writes it again from the json page, and \
             that one from the subtitles; if that fails, drop the recording into the inbox once more, or restore \
             what is lost from a backup under this key"
        }
        Fault::Unindexed { .. } => "`scribefs fsck --repair` adds it to the index",
        Fault::Strange { .. } => {
            "restore the files it names, or move it away together with the files beside it"
        }
        Fault::Orphan { .. } => "`scribefs gc --yes` removes it",
        Fault::OnlyCopy { .. } => {
            "it is kept: drop a recording into the inbox to transcribe it again, and move away what you do not \
             need"
        }
        Fault::Foreign { .. } => "it is left alone",
    }
}

pub(crate) fn gc(wish: &Gc, environment: &Environment) -> Result<ExitCode, Trouble> {
    let config = wish.settings.config(environment)?;
    // What dead publications had begun to write is swept away by opening.
    let opened = Opened::open_existing(&config)?;
    match wish.yes {
        // Nobody else may be writing to what is cleared up here.
        true => opened.under_lease(&config, true, |stock| clear_up(wish, stock, &config)),
        false => clear_up(wish, opened.stock(), &config),
    }
}

fn clear_up(wish: &Gc, stock: Stock<'_>, config: &Config) -> Result<ExitCode, Trouble> {
    let left = upkeep::orphans(stock, Timestamp::now())?;
    for Orphan { place, key } in &left.orphans {
        report::print(format!("{}  {}\n", place_of(*place), printable(key.as_str())))?;
    }
    for ((place, folder), count) in &left.foreign {
        let (place, folder) = (place_of(*place), printable(folder));
        report::remark(&format!(
            "{place}  {folder}: {count} files do not belong to scribefs and are left alone"
        ));
    }
    if left.only_copies != 0 {
        report::remark(&format!(
            "{} stay although no recording names them: there is no other copy. `scribefs fsck` lists them",
            files(left.only_copies)
        ));
    }
    let files = files(left.orphans.len());
    if left.orphans.is_empty() && !wish.yes {
        report::remark("nothing to remove");
        return Ok(ExitCode::SUCCESS);
    }
    if !wish.yes {
        report::remark(&format!("{files} would be removed; `scribefs gc --yes` removes them"));
        return Ok(ExitCode::SUCCESS);
    }
    for orphan in &left.orphans {
        upkeep::remove_orphan(stock, orphan)?;
    }
    if let Some(cache) = stock::cache(config)? {
        upkeep::clear_cache(stock, &cache)?;
    }
    match left.orphans.is_empty() {
        true => report::remark("nothing to remove"),
        false => report::remark(&format!("{files} removed")),
    }
    Ok(ExitCode::SUCCESS)
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn place_of(place: Where) -> &'static str {
    match place {
        Where::Disk => "disk",
        Where::Bucket => "bucket",
    }
}
