//! `status` and `storage-info`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::cli::arguments::{RetryUploads, Status, StorageInfo};
use crate::cli::print::{self, CliError};
use crate::cli::{find_mount, progress};
use crate::daemon::Environment;
use crate::model::{printable, without_error_numbers};

/// Time between looks while somebody watches.
const LOOK: Duration = Duration::from_millis(500);

/// Longest path that is shown beside a bar, in characters.
const SHOWN_PATH: usize = 40;

pub(crate) fn status(args: &Status, environment: &Environment) -> Result<ExitCode, CliError> {
    let mount = find_mount::mount_of(args.mountpoint.as_deref(), environment)?;
    if args.watch {
        return watch(&mount);
    }
    let status = find_mount::status(&mount)?;
    if args.json {
        print::print_json(&status)?;
    } else {
        let storage = find_mount::told(&mount, "storage.json")?;
        print::print(summary(&mount, &status, &storage))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What keeps recordings from where they belong: one line each.
fn obstacles(status: &Value, storage: &Value) -> String {
    let mut lines = String::new();
    // Writing to a string cannot fail.
    if status["disk_full"] == true {
        lines.push_str("the disk is full: nothing can be dropped until there is room\n");
    }
    let uploader = &storage["placement"];
    let why = [&uploader["paused_because"], &uploader["last_error"]].map(shown);
    let why = why.into_iter().find(|why| !why.is_empty());
    let pending = storage["published"]["pending"].as_u64().unwrap_or(0);
    if let Some(why) = why.filter(|_| pending != 0) {
        let what = print::counted(pending, "recording");
        let _ = writeln!(lines, "{what} not uploaded yet: {why}");
    }
    let following = &storage["following"];
    if following["is_complete"] == false {
        let why = shown(&following["trouble"]);
        let because = if why.is_empty() { String::new() } else { format!(": {why}") };
        let _ = writeln!(lines, "the bucket has not been read completely yet{because}");
    }
    lines
}

/// What a person reads.
fn summary(mount: &Path, status: &Value, storage: &Value) -> String {
    let mut text = String::new();
    let totals = &status["totals"];
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {} in {}",
        mount.display(),
        counted(&totals["recordings"], "recording"),
        counted(&totals["conversations"], "conversation"),
    );
    for (what, model) in [("recognizer", &status["recognizer"]), ("diarizer", &status["diarizer"])]
    {
        if model["installed"] == false {
            let name = word(&model["name"]);
            let _ =
                writeln!(text, "{what} `{name}` is not installed: `scribefs models pull {name}`");
        }
    }
    text.push_str(&obstacles(status, storage));
    let waiting = status["inbox"].as_array().map(Vec::as_slice).unwrap_or_default();
    if status["read_only"] == true {
        text.push_str("read-only: drop recordings into the mount that writes to the bucket\n");
    } else if waiting.is_empty() {
        text.push_str("the inbox is empty\n");
    }
    let left_alone = status["left_alone"].as_u64().unwrap_or(0);
    if left_alone != 0 {
        let (what, first) =
            (print::counted(left_alone, "recording"), shown(&status["left_alone_first"]));
        let _ = writeln!(
            text,
            "{what} in hidden folders will not be transcribed ({first}); give the folder a name \
             without the dot"
        );
    }
    let hidden = status["hidden"].as_u64().unwrap_or(0);
    if hidden != 0 {
        let _ = writeln!(
            text,
            "files are hidden in the folder below the mount ({}); run `scribefs umount`, move them elsewhere, \
             mount again, and drop them into the inbox",
            shown(&status["hidden_first"]),
        );
    }
    for file in waiting {
        let percent = percent(file);
        let progress = if percent == 0 { String::new() } else { format!("{percent} %") };
        let path = printable(word(&file["path"]));
        let _ = writeln!(text, "{:<12} {progress:>5}  {path}", word(&file["state"]));
    }
    text
}

/// The same of a number in JSON.
fn counted(count: &Value, what: &str) -> String {
    print::counted(count.as_u64().unwrap_or(0), what)
}

fn shown(value: &Value) -> String {
    printable(&without_error_numbers(word(value))).into_owned()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn percent(file: &Value) -> u64 {
    let progress = file["progress"].as_f64().unwrap_or(0.0).clamp(0.0, 1.0);
    // A share of one, so nothing can be lost but the fraction.
    (progress * 100.0) as u64
}

/// Bars for what is in the inbox, until the daemon goes or somebody presses Ctrl-C.
fn watch(mount: &Path) -> Result<ExitCode, CliError> {
    let screen = MultiProgress::new();
    let mut bars: BTreeMap<String, ProgressBar> = BTreeMap::new();
    let head = ProgressBar::no_length().with_style(progress::style("{msg}"));
    screen.add(head.clone());
    loop {
        let status = find_mount::status(mount)?;
        let totals = &status["totals"];
        let place = mount.display().to_string();
        let recordings = counted(&totals["recordings"], "recording");
        head.set_message(format!("{}: {recordings}", printable(&place)));
        head.tick();
        let files = status["inbox"].as_array().cloned().unwrap_or_default();
        let mut gone: Vec<String> = bars.keys().cloned().collect();
        for file in &files {
            let path = word(&file["path"]).to_owned();
            gone.retain(|known| *known != path);
            let bar = bars.entry(path).or_insert_with_key(|path| {
                let bar = ProgressBar::new(100)
                    .with_style(progress::style("{bar:24} {pos:>3} % {msg:<13} {prefix}"));
                screen.add(bar.with_prefix(shortened(path)))
            });
            bar.set_message(word(&file["state"]).to_owned());
            bar.set_position(percent(file));
        }
        for path in gone {
            if let Some(bar) = bars.remove(&path) {
                bar.finish_and_clear();
                screen.remove(&bar);
            }
        }
        thread::sleep(LOOK);
    }
}

/// The end of a path, which says most.
fn shortened(path: &str) -> String {
    let path = printable(path);
    let count = path.chars().count();
    match count <= SHOWN_PATH {
        true => path.into_owned(),
        false => format!("…{}", path.chars().skip(count + 1 - SHOWN_PATH).collect::<String>()),
    }
}

pub(crate) fn storage_info(
    args: &StorageInfo,
    environment: &Environment,
) -> Result<ExitCode, CliError> {
    let mount = find_mount::mount_of(args.mountpoint.as_deref(), environment)?;
    let storage = find_mount::told(&mount, "storage.json")?;
    if args.json {
        print::print_json(&storage)?;
    } else {
        print::print(storage_summary(&storage))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn retry_uploads(
    args: &RetryUploads,
    environment: &Environment,
) -> Result<ExitCode, CliError> {
    let mount = find_mount::mount_of(args.mountpoint.as_deref(), environment)?;
    if !find_mount::has_bucket(&mount)? {
        return Err(CliError::plain(
            format!(
                "{} uploads nothing to a bucket: recordings stay on local disk",
                mount.display()
            ),
            "Set `bucket` in `[s3]` and mount again.",
        ));
    }
    find_mount::order(&mount, "retry-uploads")?;
    Ok(ExitCode::SUCCESS)
}

/// One line for each thing that there is something to say of.
fn storage_summary(storage: &Value) -> String {
    let backend = &storage["backend"];
    // A bucket that is only read from is none where recordings are kept.
    let place = match (word(&backend["kind"]), word(&backend["storage"])) {
        ("s3", "s3" | "both") => {
            format!("s3://{}/{}", word(&backend["bucket"]), word(&backend["prefix"]))
        }
        _ => word(&backend["path"]).to_owned(),
    };
    let (published, spool) = (&storage["published"], &storage["spool"]);
    let mut lines = vec![("store", place)];
    for (what, key) in [
        ("kept", "storage"),
        ("region", "region"),
        ("endpoint", "endpoint"),
        ("provider", "provider"),
        ("encrypted", "encryption"),
    ] {
        lines.push((what, shown(&backend[key])));
    }
    let recordings = counted(&published["recordings"], "recording");
    let audio = bytes(&published["audio_bytes"]);
    lines.push(("published", format!("{recordings}, {audio} of audio")));
    let room = bytes(&spool["available_bytes"]);
    lines.push(match storage["read_only"] == true {
        true => (
            "inbox",
            "read-only: drop recordings into the mount that writes to the bucket".to_owned(),
        ),
        false => ("inbox", format!("{room} can still be dropped")),
    });
    lines.extend(carrying(&storage["placement"], published));
    let following = &storage["following"];
    lines.push(match following["is_complete"] == false {
        true => ("followed", "not yet: the bucket has not been read completely".to_owned()),
        false => ("followed", moment(&following["heard_at"])),
    });
    lines.push(("trouble", shown(&following["trouble"])));
    let copies = &storage["local_copies"]["audio_bytes"];
    if copies.is_u64() {
        lines.push(("copies", format!("{} of audio that is also in the bucket", bytes(copies))));
    }
    let cache = &storage["cache"];
    if cache.is_object() {
        let (used, hits, misses) = (bytes(&cache["bytes"]), &cache["hits"], &cache["misses"]);
        lines.push(("cache", format!("{used} read from the bucket, {hits} hits, {misses} misses")));
    }
    let shown = lines.into_iter().filter(|(_, said)| !said.is_empty());
    shown.map(|(what, said)| format!("{what:<10} {said}\n")).collect()
}

/// What is on its way to the bucket, and what keeps it.
fn carrying(uploader: &Value, published: &Value) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for (what, means) in [("pending", "to be uploaded"), ("paused", "refused by the store")] {
        if let Some(count) = published[what].as_u64().filter(|count| *count != 0) {
            lines.push((what, format!("{} {means}", print::counted(count, "recording"))));
        }
    }
    lines.push(("because", shown(&uploader["paused_because"])));
    lines.push(("away until", moment(&uploader["away_until"])));
    lines.push(("last error", shown(&uploader["last_error"])));
    lines.push(("last sent", moment(&uploader["last_success"])));
    if uploader["bytes_per_second"].as_u64().is_some_and(|speed| speed != 0) {
        lines.push(("sending", format!("{} per second", bytes(&uploader["bytes_per_second"]))));
    }
    lines
}

/// A time as a clock on the wall shows it; nothing where there is none.
fn moment(value: &Value) -> String {
    let at = word(value).parse::<Timestamp>().ok();
    let at = at.map(|at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string());
    at.unwrap_or_default()
}

fn bytes(value: &Value) -> HumanBytes {
    HumanBytes(value.as_u64().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn storage_is_told_line_by_line_and_says_why_nothing_moves() {
        let storage = json!({
            "backend": {
                "kind": "s3", "bucket": "talks", "prefix": "a/", "storage": "s3", "region": "garage",
                "endpoint": "http://localhost:3900", "provider": "garage",
                "encryption": "bucket default",
            },
            "published": { "recordings": 3, "audio_bytes": 2048, "pending": 2, "paused": 0 },
            "spool": { "available_bytes": 1 << 30 },
            "placement": { "paused_because": "there is no such bucket", "bytes_per_second": 0 },
            "local_copies": { "audio_bytes": 1024 },
            "cache": { "bytes": 0, "blocks": 0, "hits": 1, "misses": 2 },
        });
        assert_eq!(
            storage_summary(&storage),
            "store      s3://talks/a/\n\
             kept       s3\n\
             region     garage\n\
             endpoint   http://localhost:3900\n\
             provider   garage\n\
             encrypted  bucket default\n\
             published  3 recordings, 2.00 KiB of audio\n\
             inbox      1.00 GiB can still be dropped\n\
             pending    2 recordings to be uploaded\n\
             because    there is no such bucket\n\
             copies     1.00 KiB of audio that is also in the bucket\n\
             cache      0 B read from the bucket, 1 hits, 2 misses\n"
        );
    }

    #[test]
    fn a_summary_says_what_keeps_recordings_from_where_they_belong() {
        let status =
            json!({ "totals": { "recordings": 1, "conversations": 1 }, "disk_full": true });
        let storage = json!({
            "published": { "pending": 14 },
            "placement": { "paused_because": "there is no such bucket" },
            "following": { "is_complete": false, "trouble": "no connection" },
        });
        assert_eq!(
            summary(Path::new("/m"), &status, &storage),
            "/m: 1 recording in 1 conversation\n\
             the disk is full: nothing can be dropped until there is room\n\
             14 recordings not uploaded yet: there is no such bucket\n\
             the bucket has not been read completely yet: no connection\n\
             the inbox is empty\n"
        );
    }

    #[test]
    fn a_summary_names_what_waits_and_what_is_missing() {
        let status = json!({
            "totals": { "recordings": 3, "conversations": 2 },
            "recognizer": { "name": "whisper-base", "installed": false },
            "diarizer": null,
            "left_alone": 1,
            "left_alone_first": ".old/d.wav",
            "hidden": 1,
            "hidden_first": "inbox",
            "inbox": [
                { "path": "a/b\u{1b}[31m.wav", "state": "transcribing", "progress": 0.5 },
                { "path": "c.wav", "state": "queued", "progress": 0.0 },
            ],
        });
        let text = summary(Path::new("/m"), &status, &Value::Null);
        assert_eq!(
            text,
            "/m: 3 recordings in 2 conversations\n\
             recognizer `whisper-base` is not installed: `scribefs models pull whisper-base`\n\
             1 recording in hidden folders will not be transcribed (.old/d.wav); give the folder a \
             name without the dot\n\
             files are hidden in the folder below the mount (inbox); run `scribefs umount`, move them elsewhere, mount again, and drop them into the inbox\n\
             transcribing  50 %  a/b\u{FFFD}[31m.wav\n\
             queued              c.wav\n"
        );
    }
}
