//! Runs the recognizers over all windows: each window by one of them, on as many threads as there are recognizers, with a second try
//! for text that cannot be true.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use crate::model::Flag;
use crate::speech::heartbeat::{PULSE, Pulse};
use crate::speech::window::Window;
use crate::speech::{
    SAMPLE_RATE, SpeechError, TranscribedWord, Transcriber, Transcription, loudness, repetition,
};

/// How often a window that loops or runs too fast is cut in two and transcribed again.
const MOST_CUTS: u32 = 3;
/// Shorter windows are not cut.
const SHORTEST_CUT_SECONDS: f64 = 1.5;

/// What came of one window.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct WindowResult {
    pub(crate) transcription: Transcription,
    pub(crate) flags: Vec<Flag>,
    /// Some of it looped to the end and was dropped.
    pub(crate) is_cut: bool,
}

/// OnWindow which window is done, with its result; now and then of none, as a sign of life.
pub(crate) type OnWindow<'a> = dyn FnMut(Option<(usize, &WindowResult)>) -> ControlFlow<()> + 'a;

/// Transcribes all `windows`. `on_window` is called for each as it is done, in any order, and now and then between;
/// it may say stop.
pub(crate) fn transcribe_windows(
    sounds: &[&[i16]],
    windows: &[Window],
    transcribers: &mut [Box<dyn Transcriber>],
    on_window: &mut OnWindow<'_>,
) -> Result<Vec<WindowResult>, SpeechError> {
    let todo = Mutex::new(windows.iter().enumerate());
    let stop = AtomicBool::new(false);
    let (sender, done) = channel();
    thread::scope(|scope| {
        for transcriber in transcribers {
            let (todo, stop, sender) = (&todo, &stop, sender.clone());
            scope.spawn(move || {
                let next = || todo.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some((at, window)) = next().filter(|_| !stop.load(Ordering::Relaxed)) {
                    if !transcribe_next(sounds, at, window, transcriber.as_mut(), &sender) {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let results = collect(&done, windows.len(), on_window);
        stop.store(true, Ordering::Relaxed);
        results
    })
}

type Report = (usize, Result<WindowResult, SpeechError>);

/// Whether to go on with the next.
fn transcribe_next(
    sounds: &[&[i16]],
    at: usize,
    window: &Window,
    transcriber: &mut dyn Transcriber,
    sender: &Sender<Report>,
) -> bool {
    let sound = sounds[window.party];
    let samples = loudness::for_recognizer(&sound[window.samples(sound.len())]);
    let result = transcribe_or_halve(transcriber, &samples, 0);
    let succeeded = result.is_ok();
    sender.send((at, result)).is_ok() && succeeded
}

fn collect(
    done: &Receiver<Report>,
    count: usize,
    on_window: &mut OnWindow<'_>,
) -> Result<Vec<WindowResult>, SpeechError> {
    let mut results = vec![WindowResult::default(); count];
    let mut pulse = Pulse::default();
    for _ in 0..count {
        let (at, result) = loop {
            match done.recv_timeout(PULSE) {
                Ok(report) => break report,
                Err(RecvTimeoutError::Timeout) => {
                    if pulse.beats() && on_window(None).is_break() {
                        return Err(SpeechError::Stopped);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SpeechError::Engine("a recognizer's thread has died".to_owned()));
                }
            }
        };
        pulse.reset();
        results[at] = result?;
        if on_window(Some((at, &results[at]))).is_break() {
            return Err(SpeechError::Stopped);
        }
    }
    Ok(results)
}

/// Transcribes one window; one that repeats itself or runs too fast is cut at a quiet place and tried again in halves.
fn transcribe_or_halve(
    transcriber: &mut dyn Transcriber,
    window: &[f32],
    cuts: u32,
) -> Result<WindowResult, SpeechError> {
    let transcription = transcriber.transcribe(window)?;
    let seconds = window.len() as f64 / SAMPLE_RATE as f64;
    let (loops, is_fast) = (
        repetition::has_loop(&transcription.text),
        repetition::is_too_fast(&transcription.text, seconds),
    );
    if !loops && !is_fast {
        return Ok(WindowResult { transcription, ..WindowResult::default() });
    }
    let flag = if loops { Flag::Loop } else { Flag::TooFast };
    if cuts < MOST_CUTS && SHORTEST_CUT_SECONDS < seconds {
        let cut = loudness::quiet_point(window);
        let first = transcribe_or_halve(transcriber, &window[..cut], cuts + 1)?;
        let second = transcribe_or_halve(transcriber, &window[cut..], cuts + 1)?;
        return Ok(joined(first, second, cut as f64 / SAMPLE_RATE as f64, flag));
    }
    // Text that is too fast may still be right: somebody in a hurry. A loop never is.
    let transcription = if loops { Transcription::default() } else { transcription };
    Ok(WindowResult { transcription, flags: vec![flag], is_cut: loops })
}

fn joined(first: WindowResult, second: WindowResult, offset: f64, flag: Flag) -> WindowResult {
    let (a, b) = (first.transcription, second.transcription);
    let later = b.words.into_iter().map(|word| TranscribedWord {
        start: word.start + offset,
        end: word.end + offset,
        ..word
    });
    let text = format!("{} {}", a.text.trim(), b.text.trim()).trim().to_owned();
    let mut flags = vec![flag];
    flags.extend(first.flags.into_iter().chain(second.flags));
    flags.sort_by_key(|flag| *flag as u8);
    flags.dedup();
    WindowResult {
        transcription: Transcription {
            text,
            words: a.words.into_iter().chain(later).collect(),
            language: a.language.or(b.language),
            avg_logprob: a.avg_logprob.or(b.avg_logprob),
            no_speech_prob: a.no_speech_prob.or(b.no_speech_prob),
        },
        flags,
        is_cut: first.is_cut || second.is_cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loops on everything that is longer than so many seconds.
    struct Stutterer(f64);

    impl Transcriber for Stutterer {
        fn transcribe(&mut self, window: &[f32]) -> Result<Transcription, SpeechError> {
            let seconds = window.len() as f64 / SAMPLE_RATE as f64;
            let text = if seconds <= self.0 { "yes" } else { "go on go on go on go on" };
            Ok(Transcription { text: text.to_owned(), ..Transcription::default() })
        }

        fn has_word_times(&self) -> bool {
            false
        }
    }

    fn check(longest: f64, text: &str, is_cut: bool) {
        let result =
            transcribe_or_halve(&mut Stutterer(longest), &vec![0.0; 8 * SAMPLE_RATE], 0).unwrap();
        assert_eq!(result.transcription.text, text);
        assert_eq!((result.flags, result.is_cut), (vec![Flag::Loop], is_cut));
    }

    #[test]
    fn a_window_that_loops_is_heard_again_in_parts() {
        check(6.0, "yes yes", false);
        check(4.0, "yes yes yes", false);
    }

    #[test]
    fn what_loops_to_the_end_is_dropped() {
        check(0.1, "", true);
    }

    #[test]
    fn windows_are_shared_out_and_come_back_in_order() {
        let sound = vec![0_i16; 10 * SAMPLE_RATE];
        let windows: Vec<Window> = (0..10)
            .map(|at| {
                let piece = (f64::from(at), f64::from(at) + 0.5);
                Window { party: 0, speaker: None, pieces: vec![piece], padded: piece }
            })
            .collect();
        let mut transcribers: Vec<Box<dyn Transcriber>> =
            vec![Box::new(Stutterer(1.0)), Box::new(Stutterer(1.0))];
        let mut count = 0;
        let results = transcribe_windows(&[&sound], &windows, &mut transcribers, &mut |done| {
            count += usize::from(done.is_some());
            ControlFlow::Continue(())
        });
        assert_eq!((results.unwrap().len(), count), (10, 10));
        let stopped = transcribe_windows(&[&sound], &windows, &mut transcribers, &mut |_| {
            ControlFlow::Break(())
        });
        assert!(matches!(stopped, Err(SpeechError::Stopped)));
    }
}
