//! The whole road on real speech: a real mount, a real worker, real recordings.

mod running;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use running::{Running, is_full, skip, table, with_public_recording, with_speech, word_error_rate};

#[test]
fn a_dropped_recording_comes_back_as_a_conversation() {
    let name = "a_dropped_recording_comes_back_as_a_conversation";
    let Some((running, speech)) = with_speech(name, &[]) else { return };
    let from = speech.join("formats/a_pcm16_44k_stereo.wav");
    let dropped = running.drop_file(&from, "weekly-standup/monday.wav");
    let json = running.published(&dropped);

    let day = running.root().join("conversations/weekly-standup/2023/04/05");
    let mut names: Vec<String> = fs::read_dir(&day)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "monday.json",
            "monday.srt",
            "monday.vtt",
            "monday.wav",
            "monday_metadata.json",
            "weekly-standup_transcript.txt",
        ]
    );
    assert_eq!(fs::read(day.join("monday.wav")).unwrap(), fs::read(&from).unwrap());
    assert_eq!(json["schema"], "scribefs.transcript/1");
    let wanted = "but the plant ran and it was the first three wire station in this country";
    let text = json["text"].as_str().unwrap();
    assert!(word_error_rate(wanted, text) <= 0.2, "{text}");
    let transcript = fs::read_to_string(day.join("weekly-standup_transcript.txt")).unwrap();
    assert!(transcript.contains("station"), "{transcript}");
    for page in ["monday.json", "monday_metadata.json", "monday.srt"] {
        let stat = fs::metadata(day.join(page)).unwrap();
        assert_eq!(stat.len(), fs::read(day.join(page)).unwrap().len() as u64);
    }
}

#[test]
fn a_public_recording_is_written_down_without_any_collection() {
    let name = "a_public_recording_is_written_down_without_any_collection";
    let Some((running, from)) = with_public_recording(name, "two_cities.wav") else { return };
    let dropped = running.drop_file(&from, "two_cities.wav");
    let json = running.published(&dropped);
    let text = json["text"].as_str().unwrap();
    let wanted = "it was the best of times it was the worst of times";
    let heard: Vec<&str> = text.split_whitespace().take(12).collect();
    assert!(word_error_rate(wanted, &heard.join(" ")) <= 0.2, "{text}");
    assert_eq!(json["language"], "en");
    assert!(!json["speakers"].as_array().unwrap().is_empty());
}

#[test]
fn the_same_bytes_again_are_no_new_work() {
    let name = "the_same_bytes_again_are_no_new_work";
    let Some((running, speech)) = with_speech(name, &[]) else { return };
    let from = speech.join("formats/a_pcm16_16k.wav");
    running.published(&running.drop_file(&from, "first.wav"));
    let again = running.drop_file(&from, "second.wav");
    assert_eq!(running.outcome(&again), None);
    assert_eq!(running.recordings().len(), 1);
}

#[test]
fn whoever_waits_for_bytes_that_are_known_is_told_where_they_are() {
    let name = "whoever_waits_for_bytes_that_are_known_is_told_where_they_are";
    let Some((running, from)) = with_public_recording(name, "two_cities.wav") else { return };
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_705_320_000);
    let drop = |name: &str| {
        let dropped = running.drop_file(&from, name);
        fs::File::options().write(true).open(&dropped).unwrap().set_modified(noon).unwrap();
        assert_eq!(running.outcome(&dropped), None, "{name}");
    };
    // What the end of the job on that file says.
    let said = |path: &str| -> String {
        let mut message = None;
        running.wait_for(&format!("the end of {path}"), || {
            let events = fs::read_to_string(running.root().join(".scribefs/events")).unwrap();
            let mut events = events.lines().filter_map(|line| serde_json::from_str(line).ok());
            message = events
                .rfind(|event: &serde_json::Value| {
                    let is_end = event["state"] == "done" || event["state"] == "duplicate";
                    event["event"] == "job" && event["path"] == path && is_end
                })
                .map(|event| event["message"].as_str().unwrap_or_default().to_owned());
            message.is_some()
        });
        message.unwrap()
    };
    let texts = || -> Vec<String> {
        let all = running.recordings().into_iter();
        all.map(|(_, json)| json["text"].as_str().unwrap().to_owned()).collect()
    };
    drop("team/first.wav");
    assert_eq!(said("team/first.wav"), "");
    let place = "conversations/team/2024/01/15/first.wav";
    assert!(running.root().join(place).exists());

    // Here, and with its stored copy damaged.
    drop("team/again.wav");
    assert!(said("team/again.wav").contains(place), "{}", said("team/again.wav"));
    let stored = running.dir.path().join("state/uploads/team/2024/01/15/first.wav");
    fs::write(&stored, b"damaged").unwrap();
    drop("team/once more.wav");
    let message = said("team/once more.wav");
    assert!(message.contains(place) && message.contains("restored"), "{message}");
    assert!(fs::read(&stored).unwrap() == fs::read(&from).unwrap());
    assert_eq!(texts().len(), 1);

    // Elsewhere: filed there too, and the damaged copy here is mended.
    fs::write(&stored, b"damaged").unwrap();
    drop("other/x.wav");
    let message = said("other/x.wav");
    assert!(message.contains(place) && message.contains("filed"), "{message}");
    assert!(running.root().join("conversations/other/2024/01/15/x.wav").exists());
    assert!(fs::read(&stored).unwrap() == fs::read(&from).unwrap());
    assert_eq!(texts().len(), 2);
    assert_eq!(texts()[0], texts()[1]);

    // In the trash nothing is at home.
    for conversation in ["team", "other"] {
        fs::remove_dir_all(running.root().join("conversations").join(conversation)).unwrap();
    }
    drop("team/back.wav");
    let message = said("team/back.wav");
    assert!(message.contains("in the trash"), "{message}");
    assert_eq!(texts().len(), 1);
}

#[test]
fn folders_that_are_only_a_date_name_no_conversation_but_the_day() {
    let name = "folders_that_are_only_a_date_name_no_conversation_but_the_day";
    let Some((running, from)) = with_public_recording(name, "two_cities.wav") else { return };
    let dropped = running.drop_file(&from, "2024/01/15/REC001.WAV");
    running.published(&dropped);
    let found: Vec<String> = running
        .recordings()
        .into_iter()
        .map(|(path, _)| path.strip_prefix(running.root()).unwrap().display().to_string())
        .collect();
    assert_eq!(found.len(), 1);
    assert!(!found[0].starts_with("conversations/2024/"), "{found:?}");
    assert!(found[0].ends_with("/2024/01/15/REC001.json"), "{found:?}");
}

#[test]
fn a_second_recording_of_a_day_gets_a_name_of_its_own() {
    let name = "a_second_recording_of_a_day_gets_a_name_of_its_own";
    let Some((running, speech)) = with_speech(name, &[]) else { return };
    let table = table(&speech.join("utterances/utterances.tsv"));
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_705_320_000);
    for (row, folder) in table.iter().zip(["a", "b"]) {
        let from = speech.join("utterances").join(&row["file"]);
        let dropped = running.drop_file(&from, format!("team/{folder}/meeting.flac"));
        fs::File::options().write(true).open(&dropped).unwrap().set_modified(noon).unwrap();
        assert_eq!(running.outcome(&dropped), None);
    }
    let day = running.root().join("conversations/team/2024/01/15");
    assert!(day.join("meeting.flac").exists() && day.join("meeting-2.flac").exists());
    assert_eq!(fs::metadata(day.join("meeting.flac")).unwrap().modified().unwrap(), noon);
    let transcript = fs::read_to_string(day.join("team_transcript.txt")).unwrap();
    for name in ["meeting.flac", "meeting-2.flac"] {
        assert!(transcript.contains(name), "{transcript}");
    }
}

#[test]
fn conversations_outlive_the_daemon_and_the_index() {
    let name = "conversations_outlive_the_daemon_and_the_index";
    let Some((mut running, speech)) = with_speech(name, &[]) else { return };
    let from = speech.join("formats/a_pcm16_16k.wav");
    running.published(&running.drop_file(&from, "talk.wav"));
    let before = tree(&running);
    assert_eq!(running.stop(), Some(0));
    running.mount();
    assert_eq!(tree(&running), before);

    assert_eq!(running.stop(), Some(0));
    fs::remove_file(running.dir.path().join("state/index.redb")).unwrap();
    running.mount();
    assert_eq!(tree(&running), before);
}

/// Every path below `conversations/` with size and modification time.
fn tree(running: &Running) -> Vec<(String, u64, i64)> {
    let root = running.root().join("conversations");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::metadata(&path).unwrap();
            let below = path.strip_prefix(&root).unwrap().display().to_string();
            if stat.is_dir() {
                found.push((below, 0, 0));
                folders.push(path);
            } else {
                found.push((below, stat.len(), stat.mtime()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_format_is_heard() {
    let Some((running, speech)) = with_speech("every_format_is_heard", &[]) else { return };
    let rows = table(&speech.join("formats/formats.tsv"));
    let step = if is_full() { 1 } else { 6 };
    let rows: Vec<_> = rows.iter().step_by(step).collect();
    let drops: Vec<_> = rows
        .iter()
        .map(|row| running.drop_file(&speech.join("formats").join(&row["file"]), &row["file"]))
        .collect();
    for (row, dropped) in rows.iter().zip(&drops) {
        // Some containers hold the very same bytes as others: then the drop points to the first.
        if let Some(note) = running.outcome(dropped) {
            assert!(!has_ffmpeg() && note.contains("ffmpeg"), "{}: {note}", row["file"]);
            skip(&row["file"], "it takes ffmpeg, which is not here; the note says so");
        }
    }
    let heard = running.recordings();
    for (row, _) in rows.iter().zip(&drops).filter(|(_, dropped)| !dropped.exists()) {
        let Some((_, json)) = heard.iter().find(|(_, json)| json["source"]["file"] == row["file"])
        else {
            panic!("{} is nowhere", row["file"]);
        };
        let text = json["text"].as_str().unwrap();
        assert!(word_error_rate(&row["text"], text) <= 0.2, "{}: {text}", row["file"]);
    }
}

#[test]
fn bad_recordings_end_as_they_should_and_the_mount_goes_on_answering() {
    let name = "bad_recordings_end_as_they_should_and_the_mount_goes_on_answering";
    let Some((running, speech)) = with_speech(name, &[]) else { return };
    let rows = table(&speech.join("bad/bad.tsv"));
    let step = if is_full() { 1 } else { 4 };
    let mut faults = Vec::new();
    for row in rows.iter().step_by(step) {
        let from = speech.join("bad").join(&row["file"]);
        let dropped = running.drop_file(&from, &row["file"]);
        assert!(fs::read_dir(running.root()).unwrap().count() >= 3, "the mount does not answer");
        if row["bytes"] == "0" {
            // A file without bytes waits for some.
            assert!(dropped.exists());
            fs::remove_file(&dropped).unwrap();
            continue;
        }
        let ended = ended_as(&running, &dropped, &from, &row["text"]);
        let allowed = [row["expect"].as_str(), row["also"].as_str()];
        let is_fine = match ended {
            "full" => allowed.iter().any(|it| matches!(*it, "full" | "survive" | "partial")),
            ended => allowed.contains(&ended) || allowed.contains(&"survive"),
        };
        if !is_fine {
            faults.push(format!("{}: {ended}, not {allowed:?}", row["file"]));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn has_ffmpeg() -> bool {
    std::process::Command::new("ffmpeg").arg("-version").output().is_ok()
}

/// `from` holds the bytes of `dropped`: the same ones may have been published under another name before.
fn ended_as(running: &Running, dropped: &Path, from: &Path, wanted: &str) -> &'static str {
    if running.outcome(dropped).is_some() {
        return "refuse";
    }
    let name = dropped.file_name().unwrap().to_string_lossy().into_owned();
    let heard = running.recordings();
    let hash = blake3::hash(&fs::read(from).unwrap()).to_hex();
    let is_it = |json: &serde_json::Value| {
        json["source"]["file"] == *name || json["source"]["blake3"] == hash.as_str()
    };
    let Some((_, json)) = heard.iter().find(|(_, json)| is_it(json)) else { return "lost" };
    let text = json["text"].as_str().unwrap();
    if text.is_empty() {
        "empty"
    } else if word_error_rate(wanted, text) <= 0.34 {
        "full"
    } else if json["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty()) {
        "partial"
    } else {
        "invented"
    }
}

#[test]
fn every_recording_of_the_collection_is_published() {
    let name = "every_recording_of_the_collection_is_published";
    if !is_full() {
        skip(name, "only with `scripts/test --full`");
        return;
    }
    let Some((running, speech)) = with_speech(name, &[]) else { return };
    let mut drops = Vec::new();
    for folder in ["utterances", "utterances_multi", "conversations", "meetings"] {
        for entry in fs::read_dir(speech.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "flac" || it == "mp3" || it == "wav") {
                let file = path.file_name().unwrap();
                drops.push(running.drop_file(&path, Path::new(folder).join(file)));
            }
        }
    }
    for dropped in &drops {
        assert_eq!(running.outcome(dropped), None, "{}", dropped.display());
    }
    assert_eq!(running.recordings().len(), drops.len());
}
