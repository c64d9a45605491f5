//! A worker that is killed, hangs, crashes or runs out of memory: the job says so, the mount goes on.

mod running;

use std::fs;
use std::path::PathBuf;

use running::{Running, signal, with_speech};

/// Drops a meeting that takes a while and waits for a worker that is at work on it.
fn busy(running: &Running, speech: &std::path::Path) -> (PathBuf, i32) {
    let dropped = running.drop_file(&speech.join("meetings/meet4_long.mp3"), "long.mp3");
    let mut worker = 0;
    running.wait_for("a worker to be at work", || {
        let state = state_of(&dropped);
        worker = running.workers().first().copied().unwrap_or(0);
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
        for worker in running.workers() {
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
