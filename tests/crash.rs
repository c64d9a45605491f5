//! `kill -9` of the daemon at any moment: nothing is lost and nothing is published twice.

mod running;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use running::{looks_broken, table, with_speech};

#[test]
fn five_recordings_survive_ten_kills_and_are_published_once() {
    let name = "five_recordings_survive_ten_kills_and_are_published_once";
    let Some((mut running, speech)) = with_speech(name, &[]) else { return };
    let rows = table(&speech.join("utterances/utterances.tsv"));
    let names: Vec<String> = rows.iter().take(5).map(|row| row["file"].clone()).collect();
    let drops: Vec<PathBuf> = names
        .iter()
        .map(|name| running.drop_file(&speech.join("utterances").join(name), name))
        .collect();
    // A fixed seed: moments spread over the whole road, the same in every run.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..10 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        thread::sleep(Duration::from_millis(random % 1_500));
        running.kill();
        running.mount();
    }
    for dropped in &drops {
        assert_eq!(running.outcome(dropped), None);
    }
    let published = running.recordings();
    let found: BTreeSet<String> = published
        .iter()
        .map(|(_, json)| json["source"]["file"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, names.iter().cloned().collect());
    assert_eq!(published.len(), names.len());
    for (path, json) in published {
        let audio = path.with_file_name(json["source"]["file"].as_str().unwrap());
        let original = speech.join("utterances").join(audio.file_name().unwrap());
        assert_eq!(fs::read(audio).unwrap(), fs::read(original).unwrap());
    }
    let conversations = || fs::read_dir(running.root().join("conversations")).unwrap().count();
    // Listings that the kernel keeps may be a moment behind.
    running
        .wait_for("a conversation for each, and no empty one", || conversations() == names.len());
}

#[test]
fn a_recording_whose_writer_died_with_the_daemon_is_kept_and_not_taken() {
    let name = "a_recording_whose_writer_died_with_the_daemon_is_kept_and_not_taken";
    let Some((mut running, speech)) = with_speech(name, &[]) else { return };
    let whole = fs::read(speech.join("formats/a_pcm16_16k.wav")).unwrap();
    let path = running.inbox().join("half.wav");
    let mut file = fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut file, &whole[..whole.len() / 2]).unwrap();
    running.kill();
    drop(file);
    running.mount();
    assert_eq!(fs::read(&path).unwrap(), &whole[..whole.len() / 2]);
    // Another recording goes all the way meanwhile: there was time enough to take this one too.
    running.published(&running.drop_file(&speech.join("formats/b_pcm16_16k.wav"), "other.wav"));
    assert!(path.exists());
    assert_eq!(running.recordings().len(), 1);
}

#[test]
fn a_killed_daemon_leaves_a_mount_that_looks_broken() {
    let name = "a_killed_daemon_leaves_a_mount_that_looks_broken";
    let Some((mut running, _)) = with_speech(name, &[]) else { return };
    running.kill();
    assert!(looks_broken(&running.root()));
    running.mount();
    assert!(fs::read_dir(running.root()).unwrap().count() >= 3);
}

#[test]
fn pages_survive_kills_while_they_are_written_again() {
    let name = "pages_survive_kills_while_they_are_written_again";
    let Some((mut running, speech)) = with_speech(name, &[]) else { return };
    running.published(&running.drop_file(&speech.join("formats/a_pcm16_16k.wav"), "standup/a.wav"));
    let page = running.recordings().remove(0).0;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..12 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        for more in 0..3 {
            let who = format!("S1=Somebody number {round} {}", "x".repeat(more * 9));
            let named = running.command().arg("name").arg(&page).arg(who).output().unwrap();
            assert!(named.status.success(), "{named:?}");
        }
        thread::sleep(Duration::from_millis(random % 120));
        running.kill();
        running.mount();
        // Pages that are torn do not parse.
        assert_eq!(running.recordings().len(), 1, "round {round}");
        let folder = fs::read_dir(page.parent().unwrap()).unwrap();
        for path in folder.map(|entry| entry.unwrap().path()) {
            // What was owed when it was killed is written now: a page may be another one by its second look.
            running.wait_for(&format!("{path:?} to have the size that it says"), || {
                let Ok(bytes) = fs::read(&path) else { return false };
                if path.extension().is_some_and(|it| it == "json") {
                    serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
                }
                fs::metadata(&path).is_ok_and(|stat| stat.len() == bytes.len() as u64)
            });
        }
    }
    assert_eq!(running.stop(), Some(0));
    for command in [&["fsck", "--deep"][..], &["reindex"], &["fsck", "--deep"]] {
        let mut tool = running.command();
        tool.args(command).arg("--state").arg(running.dir.path().join("state"));
        let said = tool.output().unwrap();
        assert!(said.status.success(), "{command:?}: {said:?}");
    }
    running.mount();
    let (path, json) = running.recordings().remove(0);
    assert_eq!(path, page);
    assert!(json["speakers"][0]["name"].as_str().unwrap().starts_with("Somebody number"));
}
