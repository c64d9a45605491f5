//! The pipeline from sound to talk: who speaks when, windows, words, segments.

use std::ops::ControlFlow;

use crate::model::{Segment, Speaker, SpeakerBounds, SpeakerId, Talk, Turn, Warning, WorkStage};
use crate::speech::recognition::{self, WindowResult};
use crate::speech::window::{self, Window};
use crate::speech::{Diarizer, SAMPLE_RATE, SpeechError, Transcriber, heartbeat, join, loudness};

/// Turns of one speaker that are no further apart are counted as one, in seconds.
const SAME_TURN: f64 = 2.0;

/// Windows that a language is found out from: the longest ones.
const SAMPLES_OF_LANGUAGE: usize = 3;

/// What the pipeline reports while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// How much of a stage is done, 0 to 1.
    Stage(WorkStage, f32),
    Segment(Segment),
}

/// The engines of one pipeline. Without a diarizer everybody is one speaker.
pub struct Engines<'a> {
    pub diarizer: Option<&'a mut dyn Diarizer>,
    /// At least one; windows are shared out among them.
    pub transcribers: &'a mut [Box<dyn Transcriber>],
}

/// Who speaks when.
struct SpeechTurns {
    /// Overlaps included, in order of `start`.
    turns: Vec<Turn>,
    /// For each party, one speaker at a time.
    exclusive: Vec<Vec<Turn>>,
}

/// See [`crate::speech::transcribe`].
pub(crate) fn transcribe(
    sounds: &[&[i16]],
    engines: Engines<'_>,
    speakers: SpeakerBounds,
    report: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Talk, SpeechError> {
    let Engines { diarizer, transcribers } = engines;
    let is_diarized = diarizer.is_some() || 1 < sounds.len();
    let turns_of_parties = diarize_parties(sounds, diarizer, speakers, report)?;
    let has_word_times = transcribers.first().is_some_and(|it| it.has_word_times());
    let windows = windows(sounds, &turns_of_parties, has_word_times);
    detect_language(sounds, &windows, transcribers, report)?;
    let (segments, results) =
        transcribe_all(sounds, &windows, &turns_of_parties, transcribers, report)?;
    let mut talk = Talk {
        language: results.iter().find_map(|result| result.transcription.language.clone()),
        duration: seconds(sounds.iter().map(|sound| sound.len()).max().unwrap_or(0)),
        segments,
        ..Talk::default()
    };
    if talk.segments.is_empty() {
        talk.warnings.push(warning("no_speech", "No speech was found in this recording."));
        return Ok(talk);
    }
    talk.speakers = participants(&turns_of_parties.turns);
    talk.turns = turns_of_parties.turns;
    if !is_diarized {
        talk.warnings.push(warning(
            "no_diarizer",
            "No diarization model is installed, so everyone counts as one speaker.",
        ));
    }
    if results.iter().any(|result| result.is_cut) {
        talk.warnings.push(warning(
            "loops_dropped",
            "The recognizer repeated itself in places; that text was left out.",
        ));
    }
    Ok(talk)
}

fn warning(code: &str, message: &str) -> Warning {
    Warning { code: code.to_owned(), message: message.to_owned() }
}

fn seconds(samples: usize) -> f64 {
    samples as f64 / SAMPLE_RATE as f64
}

fn diarize_parties(
    sounds: &[&[i16]],
    mut diarizer: Option<&mut dyn Diarizer>,
    speakers: SpeakerBounds,
    report: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<SpeechTurns, SpeechError> {
    let is_mixed = sounds.len() == 1;
    let parties = sounds.len().max(1) as f32;
    let mut turns_of_parties = SpeechTurns { turns: Vec::new(), exclusive: Vec::new() };
    for (party, sound) in sounds.iter().enumerate() {
        let mut progress = |done: f32| {
            let done = (party as f32 + done) / parties;
            report(Progress::Stage(WorkStage::Diarizing, done))
        };
        let (mut turns, mut exclusive) = match diarizer.as_deref_mut() {
            Some(diarizer) => {
                let alone = SpeakerBounds { at_least: None, at_most: Some(1) };
                let bounds = if is_mixed { speakers } else { alone };
                let found = diarizer.diarize(sound, bounds, &mut progress)?;
                (found.turns, found.exclusive)
            }
            None => {
                if progress(0.0).is_break() {
                    return Err(SpeechError::Stopped);
                }
                let turns = turns_by_level(sound);
                (turns.clone(), turns)
            }
        };
        if !is_mixed {
            // Whoever is heard on this channel is this party.
            let id = SpeakerId(u16::try_from(party).unwrap_or(u16::MAX));
            turns.iter_mut().chain(&mut exclusive).for_each(|turn| turn.speaker = Some(id));
        }
        turns_of_parties.turns.extend(turns);
        turns_of_parties.exclusive.push(exclusive);
    }
    turns_of_parties.turns.sort_by(|a, b| a.start.total_cmp(&b.start));
    if !is_mixed {
        number_by_appearance(&mut turns_of_parties);
    }
    Ok(turns_of_parties)
}

fn turns_by_level(sound: &[i16]) -> Vec<Turn> {
    let stretches = loudness::loud_stretches(sound);
    let turn = |(start, end)| Turn { speaker: Some(SpeakerId(0)), start, end };
    stretches.into_iter().map(turn).collect()
}

/// Parties are numbered as they begin to speak.
fn number_by_appearance(turns_of_parties: &mut SpeechTurns) {
    let mut order: Vec<SpeakerId> = Vec::new();
    for speaker in turns_of_parties.turns.iter().filter_map(|turn| turn.speaker) {
        if !order.contains(&speaker) {
            order.push(speaker);
        }
    }
    let rename = |turn: &mut Turn| {
        let at = order.iter().position(|speaker| Some(*speaker) == turn.speaker);
        turn.speaker = at.and_then(|at| u16::try_from(at).ok()).map(SpeakerId);
    };
    turns_of_parties
        .turns
        .iter_mut()
        .chain(turns_of_parties.exclusive.iter_mut().flatten())
        .for_each(rename);
}

fn windows(sounds: &[&[i16]], turns_of_parties: &SpeechTurns, has_word_times: bool) -> Vec<Window> {
    let cut = if has_word_times { window::by_pause } else { window::by_speaker };
    let parties = turns_of_parties.exclusive.iter().zip(sounds).enumerate();
    let mut windows: Vec<Window> =
        parties.flat_map(|(party, (turns, sound))| cut(party, turns, sound)).collect();
    windows.sort_by(|a, b| a.start().total_cmp(&b.start()));
    windows
}

fn detect_language(
    sounds: &[&[i16]],
    windows: &[Window],
    transcribers: &mut [Box<dyn Transcriber>],
    report: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), SpeechError> {
    let mut longest: Vec<&Window> = windows.iter().collect();
    longest.sort_by(|a, b| (b.end() - b.start()).total_cmp(&(a.end() - a.start())));
    let samples: Vec<Vec<f32>> = longest
        .into_iter()
        .take(SAMPLES_OF_LANGUAGE)
        .map(|window| {
            let sound = sounds[window.party];
            loudness::for_recognizer(&sound[window.samples(sound.len())])
        })
        .collect();
    let detect = || {
        transcribers.iter_mut().try_for_each(|transcriber| transcriber.detect_language(&samples))
    };
    heartbeat::with_heartbeat(detect, &mut || report(Progress::Stage(WorkStage::Transcribing, 0.0)))
}

fn transcribe_all(
    sounds: &[&[i16]],
    windows: &[Window],
    turns_of_parties: &SpeechTurns,
    transcribers: &mut [Box<dyn Transcriber>],
    report: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(Vec<Segment>, Vec<WindowResult>), SpeechError> {
    let length = |window: &Window| window.end() - window.start();
    let all: f64 = windows.iter().map(length).sum();
    let mut done_seconds = 0.0;
    let join = |at: usize, result: &WindowResult| {
        let window = &windows[at];
        join::segments(
            window,
            result,
            &turns_of_parties.exclusive[window.party],
            &turns_of_parties.turns,
        )
    };
    let mut on_window = |done: Option<(usize, &WindowResult)>| {
        let mut partial = Vec::new();
        if let Some((at, result)) = done {
            done_seconds += length(&windows[at]);
            partial = join(at, result);
        }
        for segment in partial {
            if report(Progress::Segment(segment)).is_break() {
                return ControlFlow::Break(());
            }
        }
        let share = if 0.0 < all { done_seconds / all } else { 1.0 };
        report(Progress::Stage(WorkStage::Transcribing, share as f32))
    };
    if on_window(None).is_break() {
        return Err(SpeechError::Stopped);
    }
    let results = recognition::transcribe_windows(sounds, windows, transcribers, &mut on_window)?;
    let mut segments: Vec<Segment> =
        results.iter().enumerate().flat_map(|(at, result)| join(at, result)).collect();
    segments.sort_by(|a, b| a.start.total_cmp(&b.start));
    for (id, segment) in segments.iter_mut().enumerate() {
        segment.id = u32::try_from(id).unwrap_or(u32::MAX);
    }
    Ok((segments, results))
}

/// Everybody who has a turn, in order of appearance.
fn participants(turns: &[Turn]) -> Vec<Speaker> {
    let mut speakers: Vec<Speaker> = Vec::new();
    let mut ends: Vec<f64> = Vec::new();
    for turn in turns {
        let Some(id) = turn.speaker else { continue };
        let at = speakers.iter().position(|speaker| speaker.id == id).unwrap_or_else(|| {
            let label = id.label();
            speakers.push(Speaker { id, label, name: None, talk_seconds: 0.0, turns: 0 });
            ends.push(f64::NEG_INFINITY);
            speakers.len() - 1
        });
        speakers[at].talk_seconds += turn.end - turn.start;
        if ends[at] + SAME_TURN < turn.start {
            speakers[at].turns += 1;
        }
        ends[at] = ends[at].max(turn.end);
    }
    speakers.sort_by_key(|speaker| speaker.id);
    speakers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::{Diarization, Transcription};

    /// Says how long its window is.
    struct Counter;

    impl Transcriber for Counter {
        fn transcribe(&mut self, window: &[f32]) -> Result<Transcription, SpeechError> {
            let text = format!("{} samples.", window.len());
            Ok(Transcription { text, language: Some("en".to_owned()), ..Transcription::default() })
        }

        fn has_word_times(&self) -> bool {
            false
        }
    }

    /// Finds a speaker wherever there is sound.
    struct Everywhere;

    impl Diarizer for Everywhere {
        fn diarize(
            &mut self,
            sound: &[i16],
            _: SpeakerBounds,
            progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
        ) -> Result<Diarization, SpeechError> {
            let _ = progress(1.0);
            let turns = turns_by_level(sound);
            Ok(Diarization { exclusive: turns.clone(), turns, voices: Vec::new() })
        }
    }

    fn beeps(at: &[f64]) -> Vec<i16> {
        let mut sound = vec![0; 20 * SAMPLE_RATE];
        for start in at {
            let from = (start * SAMPLE_RATE as f64) as usize;
            for (n, sample) in sound[from..from + SAMPLE_RATE].iter_mut().enumerate() {
                *sample = if n % 40 < 20 { 8_000 } else { -8_000 };
            }
        }
        sound
    }

    fn talk(sounds: &[&[i16]], diarizer: Option<&mut dyn Diarizer>) -> Talk {
        let mut transcribers: Vec<Box<dyn Transcriber>> = vec![Box::new(Counter)];
        let diarizer = diarizer.map(|it| it as &mut dyn Diarizer);
        let engines = Engines { diarizer, transcribers: &mut transcribers };
        transcribe(sounds, engines, SpeakerBounds::default(), &mut |_| ControlFlow::Continue(()))
            .unwrap()
    }

    #[test]
    fn parties_are_speakers_in_the_order_in_which_they_begin() {
        let (left, right) = (beeps(&[5.0, 12.0]), beeps(&[1.0]));
        let talk = talk(&[&left, &right], Some(&mut Everywhere));
        let who: Vec<(f64, u16)> = talk
            .segments
            .iter()
            .map(|segment| (segment.start.round(), segment.speaker.unwrap().0))
            .collect();
        assert_eq!(who, [(1.0, 0), (5.0, 1), (12.0, 1)]);
        assert_eq!(talk.speakers.iter().map(|it| it.turns).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(talk.warnings, []);
    }

    #[test]
    fn silence_is_no_talk() {
        let talk = talk(&[&[0; 32_000]], Some(&mut Everywhere));
        assert_eq!((talk.duration, talk.segments.len(), talk.speakers.len()), (2.0, 0, 0));
        assert_eq!(talk.warnings[0].code, "no_speech");
    }

    #[test]
    fn without_a_diarizer_everybody_is_one_speaker_and_the_talk_says_so() {
        let talk = talk(&[&beeps(&[1.0, 8.0])], None);
        assert_eq!((talk.segments.len(), talk.speakers.len()), (2, 1));
        assert_eq!(talk.warnings[0].code, "no_diarizer");
        assert_eq!(talk.language.as_deref(), Some("en"));
    }

    /// Takes its time to find the language out, until it is seen to be alive.
    struct Linguist<'a>(&'a std::sync::atomic::AtomicBool);

    impl Transcriber for Linguist<'_> {
        fn transcribe(&mut self, _: &[f32]) -> Result<Transcription, SpeechError> {
            Ok(Transcription::default())
        }

        fn has_word_times(&self) -> bool {
            false
        }

        fn detect_language(&mut self, _: &[Vec<f32>]) -> Result<(), SpeechError> {
            while !self.0.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            Ok(())
        }
    }

    #[test]
    fn a_language_that_takes_long_to_find_out_is_no_stall() {
        use std::sync::atomic::{AtomicBool, Ordering};
        static SEEN: AtomicBool = AtomicBool::new(false);
        let mut transcribers: Vec<Box<dyn Transcriber>> = vec![Box::new(Linguist(&SEEN))];
        let engines = Engines { diarizer: None, transcribers: &mut transcribers };
        let sound = beeps(&[1.0]);
        let mut on_window = 0;
        transcribe(&[&sound], engines, SpeakerBounds::default(), &mut |report| {
            if matches!(report, Progress::Stage(WorkStage::Transcribing, _)) {
                on_window += 1;
                SEEN.store(true, Ordering::Relaxed);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(0 < on_window);
    }

    #[test]
    fn the_pipeline_can_be_stopped_at_every_step() {
        let sound = beeps(&[1.0, 8.0]);
        let mut steps = 0;
        for allowed in 0.. {
            let mut transcribers: Vec<Box<dyn Transcriber>> = vec![Box::new(Counter)];
            let engines = Engines { diarizer: None, transcribers: &mut transcribers };
            steps = 0;
            let result = transcribe(&[&sound], engines, SpeakerBounds::default(), &mut |_| {
                steps += 1;
                if steps <= allowed { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            match result {
                Ok(_) => break,
                Err(err) => assert!(matches!(err, SpeechError::Stopped)),
            }
        }
        assert!(4 < steps);
    }
}
