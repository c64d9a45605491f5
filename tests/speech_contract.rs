//! What every transcriber and every diarizer promises.
#![cfg(all(feature = "sherpa", feature = "whisper"))]

mod ggml;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use scribefs::model::SpeakerBounds;
use scribefs::speech::{SpeechError, Transcriber, open_diarizer, open_transcribers};

/// The folder of an installed model; without it the test is skipped, and says so.
fn installed(test: &str, model: &str) -> Option<PathBuf> {
    let given = std::env::var_os("SCRIBEFS_MODELS").map(PathBuf::from);
    let models = given.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").unwrap_or_default();
        Path::new(&home).join(".local/share/scribefs/models")
    });
    let folder = models.join(model);
    if !folder.is_dir() {
        eprintln!("skipped: {test}: the model {model} is not in {}", models.display());
        return None;
    }
    Some(folder)
}

/// Something with the rise and fall of speech: tones that come and go.
fn sound(seconds: usize) -> Vec<f32> {
    (0..seconds * 16_000)
        .map(|n| {
            let t = n as f32 / 16_000.0;
            (t * 1_400.0).sin() * (t * 20.0).sin().max(0.0) * 0.2
        })
        .collect()
}

/// The promises of [`Transcriber`].
fn check(transcriber: &mut dyn Transcriber) {
    let windows = [sound(3), vec![0.0; 16_000], sound(28), vec![0.1; 160], Vec::new()];
    transcriber.detect_language(&windows[..2]).unwrap();
    for window in &windows {
        let heard = transcriber.transcribe(window).unwrap();
        let seconds = window.len() as f64 / 16_000.0;
        assert!(transcriber.has_word_times() || heard.words.is_empty());
        for word in &heard.words {
            assert!(!word.word.trim().is_empty());
            assert!(0.0 <= word.start && word.start <= word.end && word.end <= seconds + 0.001);
        }
    }
    // Windows are independent: what was heard before changes nothing.
    let first = transcriber.transcribe(&windows[0]).unwrap().text;
    transcriber.transcribe(&windows[2]).unwrap();
    assert_eq!(transcriber.transcribe(&windows[0]).unwrap().text, first);
}

#[test]
fn whisper_runs_any_ggml_file_of_the_right_shape() {
    let dir = tempfile::tempdir().unwrap();
    ggml::write_random_model(&dir.path().join("ggml-random.bin"));
    for language in [None, Some("de")] {
        let mut transcribers = open_transcribers(dir.path(), language, 2).unwrap();
        assert_eq!(transcribers.len(), 1);
        assert!(transcribers[0].has_word_times());
        check(transcribers[0].as_mut());
        let heard = transcribers[0].transcribe(&sound(2)).unwrap();
        assert!(heard.language.is_some());
        if let Some(language) = language {
            assert_eq!(heard.language.as_deref(), Some(language));
        }
    }
}

#[test]
fn moonshine_keeps_its_promises_on_each_thread() {
    let name = "moonshine_keeps_its_promises_on_each_thread";
    let Some(folder) = installed(name, "moonshine-tiny-en") else { return };
    let mut transcribers = open_transcribers(&folder, None, 2).unwrap();
    assert_eq!(transcribers.len(), 2);
    for transcriber in &mut transcribers {
        check(transcriber.as_mut());
        assert_eq!(transcriber.transcribe(&sound(1)).unwrap().language.as_deref(), Some("en"));
    }
}

#[test]
fn a_folder_without_a_model_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "nothing").unwrap();
    let err = open_transcribers(dir.path(), None, 1).err().unwrap();
    assert!(matches!(err, SpeechError::BadModel { .. }), "{err}");
    assert!(open_diarizer(dir.path(), 1).is_err());
    assert!(open_transcribers(Path::new("/nonexistent"), None, 1).is_err());
}

#[test]
fn a_cut_model_file_is_refused_and_does_not_take_the_process_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ggml-cut.bin");
    ggml::write_random_model(&path);
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    assert!(open_transcribers(dir.path(), None, 1).is_err());
}

#[test]
fn the_diarizer_keeps_its_promises() {
    let name = "the_diarizer_keeps_its_promises";
    let Some(folder) = installed(name, "pyannote-community-1") else { return };
    let mut diarizer = open_diarizer(&folder, 2).unwrap();
    let sound: Vec<i16> = sound(25).iter().map(|sample| (sample * 32_767.0) as i16).collect();
    let mut told = Vec::new();
    let found = diarizer.diarize(&sound, SpeakerBounds::default(), &mut |done| {
        told.push(done);
        ControlFlow::Continue(())
    });
    let found = found.unwrap();
    assert!(told.is_sorted() && told.iter().all(|done| (0.0..=1.0).contains(done)));
    assert_eq!(told.last(), Some(&1.0));
    for turns in [&found.turns, &found.exclusive] {
        assert!(turns.is_sorted_by(|a, b| a.start <= b.start));
        assert!(
            turns
                .iter()
                .all(|turn| 0.0 <= turn.start && turn.start < turn.end && turn.end <= 25.01)
        );
    }
    assert!(found.exclusive.windows(2).all(|pair| pair[0].end <= pair[1].start + 1e-9));
    let stopped =
        diarizer.diarize(&sound, SpeakerBounds::default(), &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(SpeechError::Stopped)));
    let nothing = diarizer
        .diarize(&[], SpeakerBounds::default(), &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(nothing.turns, []);
}
