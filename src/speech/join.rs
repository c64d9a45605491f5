//! From windows to segments: words get their speakers, sentences become segments.

use crate::model::{Flag, Segment, SpeakerId, Turn, Word};
use crate::speech::recognition::WindowResult;
use crate::speech::window::Window;
use crate::speech::{TranscribedWord, repetition, word_times};

/// A word that no turn touches goes to the nearest one within so many seconds.
const NEAR: f64 = 0.5;
/// Islands of so many words inside somebody else's sentence join it.
const ISLAND: usize = 2;
/// A pause that ends a segment even where no sentence does.
const PAUSE: f64 = 1.5;
/// Longest segment where no sentence ends, in seconds.
const LONGEST: f64 = 20.0;
/// Share of a segment in which somebody else speaks too that makes it one of overlap.
const OVERLAPPED: f64 = 0.25;

/// Where no speech is thought to be and the words are unlikely, nothing was said.
const NO_SPEECH: f32 = 0.6;
const UNLIKELY: f32 = -1.0;

/// Segments of one window, by one speaker each. `exclusive` are the turns of the window's party, one
/// speaker at a time; `turns` are all, overlaps included.
pub(crate) fn segments(
    window: &Window,
    result: &WindowResult,
    exclusive: &[Turn],
    turns: &[Turn],
) -> Vec<Segment> {
    let transcription = &result.transcription;
    let is_invented = transcription.no_speech_prob.is_some_and(|it| NO_SPEECH < it)
        && transcription.avg_logprob.is_some_and(|it| it < UNLIKELY);
    if transcription.text.trim().is_empty() || is_invented {
        return Vec::new();
    }
    let mut words = if transcription.words.is_empty() {
        word_times::words(&transcription.text, &window.pieces)
    } else {
        transcription.words.iter().map(|word| placed(word, window)).collect()
    };
    match window.speaker {
        Some(speaker) => words.iter_mut().for_each(|word| word.speaker = Some(speaker)),
        None => diarize_parties(&mut words, exclusive),
    }
    let groups = words.chunk_by(|a, b| !is_border(a, b));
    let mut segments: Vec<Segment> =
        groups.flat_map(split_long).map(|words| segment(words, result, turns)).collect();
    segments.retain(|segment| !segment.text.is_empty());
    segments
}

fn placed(word: &TranscribedWord, window: &Window) -> Word {
    let offset = window.padded.0;
    Word {
        word: word.word.clone(),
        start: word.start + offset,
        end: word.end + offset,
        probability: word.probability,
        speaker: None,
        interpolated: false,
    }
}

/// Gives each word the speaker whose turns it overlaps most.
fn diarize_parties(words: &mut [Word], exclusive: &[Turn]) {
    let mut last = None;
    for word in words.iter_mut() {
        word.speaker = speaker_of(word, exclusive).or(last);
        last = word.speaker;
    }
    smooth(words);
}

fn speaker_of(word: &Word, exclusive: &[Turn]) -> Option<SpeakerId> {
    let overlap = |turn: &&Turn| word.end.min(turn.end) - word.start.max(turn.start);
    // With no overlap this is the negative distance, so one question answers both.
    let nearest = exclusive.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b)))?;
    if -NEAR <= overlap(&nearest) { nearest.speaker } else { None }
}

/// One or two words of another speaker in the middle of a sentence are a border put wrong.
fn smooth(words: &mut [Word]) {
    let runs: Vec<(usize, usize)> = runs(words);
    for run in runs.windows(3) {
        let [(before, _), (start, end), (_, after)] = run else { continue };
        let around = (words[*before].speaker, words[after - 1].speaker);
        let in_sentence =
            !ends_sentence(&words[start - 1].word) && !ends_sentence(&words[end - 1].word);
        if end - start <= ISLAND && around.0 == around.1 && in_sentence {
            words[*start..*end].iter_mut().for_each(|word| word.speaker = around.0);
        }
    }
}

/// First and past-the-end index of each row of words by one speaker.
fn runs(words: &[Word]) -> Vec<(usize, usize)> {
    let mut start = 0;
    let chunks = words.chunk_by(|a, b| a.speaker == b.speaker);
    chunks
        .map(|chunk| {
            let run = (start, start + chunk.len());
            start = run.1;
            run
        })
        .collect()
}

fn is_border(before: &Word, after: &Word) -> bool {
    before.speaker != after.speaker
        || ends_sentence(&before.word)
        || PAUSE < after.start - before.end
}

/// Whether a sentence ends behind this word. `Mr.` and `J.` end none.
fn ends_sentence(word: &str) -> bool {
    const SHORT: [&str; 12] =
        ["mr", "mrs", "ms", "dr", "st", "prof", "vs", "etc", "e.g", "i.e", "no", "jr"];
    let bare = word.trim_end_matches(['"', '\'', '”', '’', ')', '»', '」', '』']);
    if bare.ends_with(['?', '!', '…', '。', '！', '？']) {
        return true;
    }
    let Some(stem) = bare.strip_suffix('.') else { return false };
    let stem = stem.to_lowercase();
    let is_initial =
        stem.chars().count() == 1 && stem.chars().all(char::is_alphabetic) && stem != "i";
    !is_initial && !SHORT.contains(&stem.as_str())
}

/// A group without a sentence's end is cut at the longest pause, or in the middle.
fn split_long(words: &[Word]) -> Vec<&[Word]> {
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return Vec::new() };
    if last.end - first.start <= LONGEST || words.len() < 4 {
        return vec![words];
    }
    let quarter = words.len() / 4;
    let gap = |at: usize| {
        let comma =
            if words[at - 1].word.ends_with([',', ';', ':', '、', '，']) { 0.5 } else { 0.0 };
        let from_middle = at.abs_diff(words.len() / 2) as f64 / words.len() as f64;
        words[at].start - words[at - 1].end + comma - from_middle
    };
    let middle = quarter.max(1)..(words.len() - quarter).max(quarter + 2);
    let cut = middle.max_by(|a, b| gap(*a).total_cmp(&gap(*b))).unwrap_or(words.len() / 2);
    let (left, right) = words.split_at(cut);
    [split_long(left), split_long(right)].concat()
}

fn segment(words: &[Word], result: &WindowResult, turns: &[Turn]) -> Segment {
    let start = words.first().map_or(0.0, |word| word.start);
    let end = words.last().map_or(start, |word| word.end).max(start);
    let speaker = words.first().and_then(|word| word.speaker);
    let mut flags = result.flags.clone();
    if is_overlapped(start, end, speaker, turns) {
        flags.push(Flag::Overlap);
    }
    let sure: Vec<f32> = words.iter().filter_map(|word| word.probability).collect();
    let confidence = (!sure.is_empty()).then(|| sure.iter().sum::<f32>() / sure.len() as f32);
    Segment {
        id: 0,
        start,
        end,
        text: text_of(words),
        speaker,
        avg_logprob: result.transcription.avg_logprob,
        no_speech_prob: result.transcription.no_speech_prob,
        confidence,
        flags,
        words: words.to_vec(),
    }
}

/// Words with blanks between them, where the script has blanks.
fn text_of(words: &[Word]) -> String {
    let mut text = String::new();
    for word in words {
        let is_wide =
            |c: Option<char>| c.is_some_and(|c| repetition::is_wide(c) || is_wide_mark(c));
        let joins = is_wide(text.chars().last()) && is_wide(word.word.chars().next());
        if !text.is_empty() && !joins {
            text.push(' ');
        }
        text.push_str(word.word.trim());
    }
    text
}

fn is_wide_mark(c: char) -> bool {
    matches!(c, '\u{3001}'..='\u{303F}' | '\u{FF01}'..='\u{FF65}')
}

fn is_overlapped(start: f64, end: f64, speaker: Option<SpeakerId>, turns: &[Turn]) -> bool {
    let others = turns.iter().filter(|turn| turn.speaker != speaker);
    let shared: f64 = others.map(|turn| (end.min(turn.end) - start.max(turn.start)).max(0.0)).sum();
    OVERLAPPED * (end - start) < shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::Transcription;

    fn turn(speaker: u16, start: f64, end: f64) -> Turn {
        Turn { speaker: Some(SpeakerId(speaker)), start, end }
    }

    fn window(speaker: Option<u16>, start: f64, end: f64) -> Window {
        Window {
            party: 0,
            speaker: speaker.map(SpeakerId),
            pieces: vec![(start, end)],
            padded: (start - 0.3, end + 0.3),
        }
    }

    fn result(text: &str, words: &[(&str, f64, f64)]) -> WindowResult {
        let words = words.iter().map(|(word, start, end)| TranscribedWord {
            word: (*word).to_owned(),
            start: *start,
            end: *end,
            probability: Some(0.5),
        });
        let transcription = Transcription {
            text: text.to_owned(),
            words: words.collect(),
            ..Transcription::default()
        };
        WindowResult { transcription, ..WindowResult::default() }
    }

    fn told(segments: &[Segment]) -> Vec<(Option<u16>, &str)> {
        segments.iter().map(|it| (it.speaker.map(|it| it.0), it.text.as_str())).collect()
    }

    #[test]
    fn a_window_without_word_times_is_cut_into_sentences() {
        let said = result("Good morning, Mr. Smith. Shall we start? Yes", &[]);
        let turns = [turn(1, 10.0, 18.0)];
        let segments = segments(&window(Some(1), 10.0, 18.0), &said, &turns, &turns);
        assert_eq!(
            told(&segments),
            [(Some(1), "Good morning, Mr. Smith."), (Some(1), "Shall we start?"), (Some(1), "Yes"),]
        );
        assert_eq!((segments[0].start, segments[2].end), (10.0, 18.0));
        assert!(segments[0].words.iter().all(|word| word.interpolated));
    }

    #[test]
    fn words_with_times_go_to_who_speaks_then() {
        let words = [("So", 0.3, 0.6), ("yes.", 0.6, 1.2), ("No", 1.4, 1.8), ("way.", 1.8, 2.2)];
        let turns = [turn(0, 5.0, 6.0), turn(1, 6.1, 8.0)];
        let said = result("So yes. No way.", &words);
        let segments = segments(&window(None, 5.0, 8.0), &said, &turns, &turns);
        assert_eq!(told(&segments), [(Some(0), "So yes."), (Some(1), "No way.")]);
        assert_eq!(segments[0].confidence, Some(0.5));
    }

    #[test]
    fn a_word_on_the_wrong_side_of_a_border_joins_its_sentence() {
        let words = [("we", 0.3, 0.6), ("will", 0.6, 1.2), ("see", 1.2, 1.4), ("it", 1.4, 1.8)];
        let turns = [turn(0, 5.0, 5.9), turn(1, 5.9, 6.1), turn(0, 6.1, 8.0)];
        let said = result("we will see it", &words);
        let segments = segments(&window(None, 5.0, 8.0), &said, &turns, &turns);
        assert_eq!(told(&segments), [(Some(0), "we will see it")]);
    }

    #[test]
    fn text_where_nobody_speaks_is_not_believed() {
        let mut said = result("Thank you for watching.", &[]);
        said.transcription.no_speech_prob = Some(0.9);
        said.transcription.avg_logprob = Some(-1.4);
        assert_eq!(segments(&window(Some(0), 0.0, 2.0), &said, &[], &[]), []);
    }

    #[test]
    fn overlap_is_flagged() {
        let said = result("yes", &[]);
        let turns = [turn(0, 1.0, 2.0), turn(1, 1.5, 4.0)];
        let segments = segments(&window(Some(0), 1.0, 2.0), &said, &turns[..1], &turns);
        assert_eq!(segments[0].flags, [Flag::Overlap]);
    }

    #[test]
    fn scripts_without_blanks_get_none() {
        let said = result("今日は。いい天気 OK です", &[]);
        let segments = segments(&window(Some(0), 0.0, 4.0), &said, &[], &[]);
        assert_eq!(told(&segments), [(Some(0), "今日は。"), (Some(0), "いい天気 OK です")]);
    }

    #[test]
    fn a_long_row_without_a_sentence_end_is_cut() {
        let text = vec!["word"; 100].join(" ");
        let long = segments(&window(Some(0), 0.0, 28.0), &result(&text, &[]), &[], &[]);
        assert_eq!(long.len(), 2);
        assert!(long.iter().all(|segment| segment.end - segment.start <= LONGEST));
    }
}
