//! A worker that is killed, hangs, crashes or runs out of memory: the job says so, the mount goes on.

mod running;

use std::fs;
use std::path::PathBuf;

use running::{Running, signal, with_public_recording, with_speech};

/// Drops a meeting that takes a while and waits for a worker that is at work on it.
fn busy(running: &Running, speech: &std::path::Path) -> (PathBuf, i32) {
    let dropped = running.drop_file(&speech.join("meetings/meet4_long.mp3"), "long.mp3");
    let mut worker = 0;
    running.wait_for("a worker to be at work", || {
        let state = state_of(&dropped);
        worker = running.engines().first().copied().unwrap_or(0);
        worker != 0 && matches!(state.as_str(), "diarizing" | "transcribing")
    });
    (dropped, worker)
}

fn state_of(dropped: &std::path::Path) -> String {
    let path = std::ffi::CString::new(dropped.as_os_str().as_encoded_bytes()).unwrap();
    let mut value = [0_u8; 64];
    let name = c"user.scribefs.state";
    // SAFETY: both names end in NUL, and `value` is as long as said.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    let length = usize::try_from(length).unwrap_or(0);
    String::from_utf8_lossy(&value[..length]).into_owned()
}

#[test]
fn a_killed_worker_is_replaced_and_the_recording_published() {
    let name = "a_killed_worker_is_replaced_and_the_recording_published";
    let Some((running, speech)) = with_speech(name, &[]) else { return };
    let (dropped, worker) = busy(&running, &speech);
    signal(worker, libc::SIGKILL);
    assert!(fs::read_dir(running.root()).unwrap().count() >= 3);
    running.published(&dropped);
    assert!(running.log().contains("will be tried again"), "{}", running.log());
}

#[test]
fn a_worker_that_aborts_every_time_ends_in_an_error_note() {
    let name = "a_worker_that_aborts_every_time_ends_in_an_error_note";
    let Some((running, speech)) = with_speech(name, &[]) else { return };
    let dropped = running.drop_file(&speech.join("meetings/meet4_long.mp3"), "long.mp3");
    let mut killed = Vec::new();
    running.wait_for("an error note", || {
        for worker in running.engines() {
            if !killed.contains(&worker) && state_of(&dropped) == "diarizing" {
                signal(worker, libc::SIGABRT);
                killed.push(worker);
                assert!(fs::read_dir(running.root()).unwrap().count() >= 3);
            }
        }
        running::note_of(&dropped).exists()
    });
    assert_eq!(killed.len(), 3);
    let note = fs::read_to_string(running::note_of(&dropped)).unwrap();
    assert!(note.contains("signal 6") && note.contains("touch"), "{note}");
    assert!(dropped.exists());
    // `touch` is the way back.
    let file = fs::File::options().append(true).open(&dropped).unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    drop(file);
    running.wait_for("the note to go", || !running::note_of(&dropped).exists());
    running.published(&dropped);
}

#[test]
fn a_worker_that_hangs_is_killed_after_the_stall_time() {
    let name = "a_worker_that_hangs_is_killed_after_the_stall_time";
    let Some((running, speech)) = with_speech(name, &["--stall-timeout", "10s"]) else { return };
    let (dropped, worker) = busy(&running, &speech);
    signal(worker, libc::SIGSTOP);
    running.wait_for("the hanging worker to be killed", || !running.workers().contains(&worker));
    assert!(fs::read_dir(running.root()).unwrap().count() >= 3);
    running.published(&dropped);
}

#[test]
fn a_worker_that_runs_out_of_memory_says_so() {
    let name = "a_worker_that_runs_out_of_memory_says_so";
    let Some((running, speech)) = with_speech(name, &["--worker-memory-mb", "300"]) else {
        return;
    };
    let dropped = running.drop_file(&speech.join("meetings/meet2_short.flac"), "short.flac");
    let note = running.outcome(&dropped).expect("300 MB are not enough for the models");
    assert!(note.contains("memory"), "{note}");
    assert!(dropped.exists());
}

#[test]
fn a_recording_that_is_removed_while_it_is_heard_is_not_published() {
    let name = "a_recording_that_is_removed_while_it_is_heard_is_not_published";
    let Some((running, speech)) = with_speech(name, &[]) else { return };
    let (dropped, worker) = busy(&running, &speech);
    fs::remove_file(&dropped).unwrap();
    running.wait_for("the worker to be stopped", || !running.workers().contains(&worker));
    let next = running.drop_file(&speech.join("formats/a_pcm16_16k.wav"), "next.wav");
    running.published(&next);
    assert_eq!(running.recordings().len(), 1);
}

#[test]
fn a_memo_is_published_before_the_meeting_that_came_first() {
    let name = "a_memo_is_published_before_the_meeting_that_came_first";
    let Some((running, from)) = with_public_recording(name, "two_cities.wav") else { return };
    let memo = fs::read(&from).unwrap();
    // 45 seconds, thirty times over: a meeting that takes longer than any memo.
    let long = running.dir.path().join("long.wav");
    let mut meeting = memo.clone();
    (1..30).for_each(|_| meeting.extend(&memo[44..]));
    let bytes = u32::try_from(meeting.len() - 44).unwrap();
    meeting[40..44].copy_from_slice(&bytes.to_le_bytes());
    meeting[4..8].copy_from_slice(&(bytes + 36).to_le_bytes());
    fs::write(&long, &meeting).unwrap();
    let long = running.drop_file(&long, "long.wav");
    running.wait_for("the meeting to be worked on", || state_of(&long) == "diarizing");
    let workers = running.workers();
    let memo = running.drop_file(&from, "memo.wav");
    running.published(&memo);
    assert!(long.exists(), "the meeting was over before the memo");
    // The meeting's worker went on all the while.
    assert!(running.workers().iter().any(|worker| workers.contains(worker)));
    assert!(matches!(state_of(&long).as_str(), "diarizing" | "transcribing"));
}

#[test]
fn the_same_bytes_twice_at_once_are_one_recording() {
    let name = "the_same_bytes_twice_at_once_are_one_recording";
    let Some((running, from)) = with_public_recording(name, "two_cities.wav") else { return };
    let drops = ["a.wav", "b.wav", "c.wav"].map(|name| running.drop_file(&from, name));
    for dropped in &drops {
        assert_eq!(running.outcome(dropped), None);
    }
    assert_eq!(running.recordings().len(), 1);
}

#[test]
fn a_recording_that_has_lost_its_words_and_its_metadata_gets_both_from_being_dropped_again() {
    let name =
        "a_recording_that_has_lost_its_words_and_its_metadata_gets_both_from_being_dropped_again";
    let Some((running, from)) = with_public_recording(name, "two_cities.wav") else { return };
    let before = running.published(&running.drop_file(&from, "standup/talk.wav"));
    let page = running.recordings().remove(0).0;
    let below = page.strip_prefix(running.root().join("conversations")).unwrap().to_owned();
    let json = running.dir.path().join("state/uploads").join(below);
    let metadata = json.with_file_name("talk_metadata.json");
    for page in [&json, &metadata] {
        fs::remove_file(page).unwrap();
    }
    assert_eq!(running.outcome(&running.drop_file(&from, "standup/talk.wav")), None);
    running.wait_for("the pages to be there again", || json.exists() && metadata.exists());
    let recordings = running.recordings();
    assert_eq!(recordings.len(), 1);
    assert_eq!((&recordings[0].0, &recordings[0].1["text"]), (&page, &before["text"]));
}

#[test]
fn a_recording_costs_the_index_three_commits() {
    let name = "a_recording_costs_the_index_three_commits";
    let Some((running, from)) = with_public_recording(name, "two_cities.wav") else { return };
    let commits = || {
        let metrics = fs::read_to_string(running.root().join(".scribefs/metrics")).unwrap();
        let line = metrics.lines().find(|line| line.starts_with("scribefs_index_commits_total"));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    // What starting commits comes before the first recording is published, and files of `.scribefs` may be a
    // moment old: counted is what stays.
    let settled = || {
        let mut count = commits();
        loop {
            std::thread::sleep(std::time::Duration::from_secs(3));
            match commits() {
                same if same == count => return count,
                other => count = other,
            }
        }
    };
    let talk = fs::read(&from).unwrap();
    running.published(&running.drop_file(&from, "first.wav"));
    let before = settled();
    // Other bytes, so that it is no duplicate: what follows the sound is passed over.
    let second = running.dir.path().join("second.wav");
    fs::write(&second, [&talk[..], b"second"].concat()).unwrap();
    running.published(&running.drop_file(&second, "second.wav"));
    // Queued, its conversation, published. That its pages are in their places comes with the next one.
    assert_eq!(settled() - before, 3);
}

#[test]
fn a_user_says_how_many_speak() {
    let name = "a_user_says_how_many_speak";
    let Some((running, speech)) = with_speech(name, &[]) else { return };
    let from = speech.join("meetings/meet2_short.flac");
    let json = running.published(&running.drop_file(&from, "call.spk1.flac"));
    assert_eq!(json["speakers"].as_array().unwrap().len(), 1);
}

/// (Re)mounts a file system in memory, of that size.
fn memory_disk(at: &std::path::Path, options: &str) {
    let mut mount = std::process::Command::new("mount");
    let done = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status();
    assert!(done.unwrap().success());
}

#[test]
fn decoded_sound_that_does_not_fit_waits_for_room() {
    let name = "decoded_sound_that_does_not_fit_waits_for_room";
    // SAFETY: only reads a number.
    if unsafe { libc::geteuid() } != 0 {
        running::skip(name, "it takes root to make a small disk");
        return;
    }
    let (None, Some(speech)) = (running::obstacle(), running::speech()) else {
        running::skip(name, "a mount, the models or the real recordings are not here");
        return;
    };
    let keep_free = ("SCRIBEFS_KEEP_FREE_MB".to_owned(), "40".to_owned());
    let mut running = Running::start_with(&[], vec![keep_free]);
    running.stop();
    let state = running.dir.path().join("state");
    memory_disk(&state, "size=56m");
    let disk = Disk(state.clone());
    running.mount();
    let dropped = running.drop_file(&speech.join("meetings/meet4_long.mp3"), "long.mp3");
    running.wait_for("the job to wait for room", || running.log().contains("waits for disk space"));
    assert!(!running::note_of(&dropped).exists());
    // The inbox has its room all the while.
    let small = running.drop_file(&speech.join("formats/a_pcm16_16k.wav"), "small.wav");
    running.published(&small);
    memory_disk(&state, "remount,size=400m");
    running.published(&dropped);
    assert!(!running.log().contains("will be tried again"), "{}", running.log());
    running.stop();
    drop(disk);
}

/// Unmounted when dropped.
struct Disk(PathBuf);

impl Drop for Disk {
    fn drop(&mut self) {
        // A test that failed has told more than this could.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
