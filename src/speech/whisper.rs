//! whisper.cpp, through whisper-rs. Windows come from outside: what whisper itself makes of silence and
//! of long sound is where its invented text and its drifting times come from.

use std::path::Path;

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState,
    WhisperToken, get_lang_id, get_lang_str,
};

use crate::speech::engine_files::EngineOptions;
use crate::speech::repetition::is_wide;
use crate::speech::{SAMPLE_RATE, SpeechError, TranscribedWord, Transcriber, Transcription};

/// whisper.cpp returns nothing for sound under a second.
const LEAST_SAMPLES: usize = SAMPLE_RATE + SAMPLE_RATE / 10;

/// Windows that a language is found out from at most.
const VOTERS: usize = 3;
/// Probability of a language after which no further window is asked: each costs as much as hearing it.
const CERTAIN: f32 = 0.8;

/// One model with one state: windows are heard one after the other, each on all threads.
pub(crate) struct Whisper {
    state: WhisperState,
    first_special_token: i32,
    threads: i32,
    is_multilingual: bool,
    /// As asked for.
    language: Option<String>,
    /// As found out for this recording.
    settled: Option<String>,
}

impl Whisper {
    pub(crate) fn open(file: &Path, options: EngineOptions) -> Result<Self, String> {
        // Its log goes to standard error line by line otherwise.
        whisper_rs::install_logging_hooks();
        let mut parameters = WhisperContextParameters::default();
        // Off by default in whisper-rs, though whisper.cpp has it on: it is faster everywhere.
        parameters.flash_attn(true);
        let context = WhisperContext::new_with_params(file, parameters)
            .map_err(|err| format!("whisper.cpp cannot use it: {err}"))?;
        let state =
            context.create_state().map_err(|err| format!("cannot create its state: {err}"))?;
        let language = options.language.filter(|code| get_lang_id(code).is_some());
        Ok(Self {
            state,
            first_special_token: context.token_eot(),
            threads: i32::from(options.threads),
            is_multilingual: context.is_multilingual(),
            language,
            settled: None,
        })
    }

    /// `auto` lets whisper guess for each window: only where nothing was settled.
    fn code(&self) -> &str {
        if !self.is_multilingual {
            return "en";
        }
        self.language.as_deref().or(self.settled.as_deref()).unwrap_or("auto")
    }
}

impl Transcriber for Whisper {
    fn transcribe(&mut self, window: &[f32]) -> Result<Transcription, SpeechError> {
        let code = self.code().to_owned();
        let parameters = parameters(&code, self.threads);
        let seconds = window.len() as f64 / SAMPLE_RATE as f64;
        self.state.full(parameters, &padded(window)).map_err(engine)?;
        Ok(self.read(seconds))
    }

    fn has_word_times(&self) -> bool {
        true
    }

    fn detect_language(&mut self, windows: &[Vec<f32>]) -> Result<(), SpeechError> {
        self.settled = None;
        if self.language.is_some() || !self.is_multilingual {
            return Ok(());
        }
        let threads = usize::try_from(self.threads).unwrap_or(1);
        let mut votes: Vec<f32> = Vec::new();
        for window in windows.iter().take(VOTERS) {
            self.state.pcm_to_mel(&padded(window), threads).map_err(engine)?;
            let (_, probabilities) = self.state.lang_detect(0, threads).map_err(engine)?;
            votes.resize(probabilities.len(), 0.0);
            let is_certain = probabilities.iter().any(|probability| CERTAIN < *probability);
            votes.iter_mut().zip(probabilities).for_each(|(sum, vote)| *sum += vote);
            if is_certain {
                break;
            }
        }
        let best = votes.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let id = best.and_then(|(id, _)| i32::try_from(id).ok());
        self.settled = id.and_then(get_lang_str).map(str::to_owned);
        Ok(())
    }
}

fn engine(err: whisper_rs::WhisperError) -> SpeechError {
    SpeechError::Engine(err.to_string())
}

fn padded(window: &[f32]) -> Vec<f32> {
    let mut padded = window.to_vec();
    padded.resize(window.len().max(LEAST_SAMPLES), 0.0);
    padded
}

fn parameters(code: &str, threads: i32) -> FullParams<'_, '_> {
    let mut parameters = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    parameters.set_n_threads(threads);
    parameters.set_language(Some(code));
    // With `true` whisper would name the language and write nothing down.
    parameters.set_detect_language(false);
    parameters.set_no_context(true);
    // No second tries at random: a window says the same whatever was heard before it. Loops are caught
    // by hearing the window in parts.
    parameters.set_temperature_inc(0.0);
    parameters.set_token_timestamps(true);
    parameters.set_suppress_blank(true);
    parameters.set_suppress_nst(true);
    parameters.set_print_special(false);
    parameters.set_print_progress(false);
    parameters.set_print_realtime(false);
    parameters.set_print_timestamps(false);
    parameters
}

impl Whisper {
    fn read(&self, seconds: f64) -> Transcription {
        let mut text = Vec::new();
        let mut words: Vec<Spelled> = Vec::new();
        let mut no_speech = 0.0_f32;
        let mut logs = Vec::new();
        for segment in self.state.as_iter() {
            text.extend_from_slice(segment.to_bytes().unwrap_or_default());
            no_speech = no_speech.max(segment.no_speech_probability());
            for at in 0..segment.n_tokens() {
                let Some(token) = segment.get_token(at) else { continue };
                if token.token_id() < self.first_special_token {
                    logs.push(token.token_probability().max(1e-6).ln());
                    spell(&mut words, &token, seconds);
                }
            }
        }
        let count = logs.len() as f32;
        Transcription {
            text: String::from_utf8_lossy(&text).trim().to_owned(),
            words: words.into_iter().filter_map(Spelled::word).collect(),
            language: Some(self.language_heard()),
            avg_logprob: (!logs.is_empty()).then(|| logs.iter().sum::<f32>() / count),
            no_speech_prob: Some(no_speech),
        }
    }

    fn language_heard(&self) -> String {
        match self.code() {
            "auto" => get_lang_str(self.state.full_lang_id_from_state()).unwrap_or("en").to_owned(),
            code => code.to_owned(),
        }
    }
}

/// A word as bytes: a token may end in the middle of a character.
struct Spelled {
    bytes: Vec<u8>,
    start: f64,
    end: f64,
    probabilities: Vec<f32>,
}

impl Spelled {
    fn word(self) -> Option<TranscribedWord> {
        let word = String::from_utf8_lossy(&self.bytes).trim().to_owned();
        let count = self.probabilities.len().max(1) as f32;
        (!word.is_empty()).then(|| TranscribedWord {
            word,
            start: self.start,
            end: self.end,
            probability: Some(self.probabilities.iter().sum::<f32>() / count),
        })
    }

    /// Whole characters, the last one of a script without blanks: the next token is a word of its own.
    fn stands_alone(&self) -> bool {
        std::str::from_utf8(&self.bytes).is_ok_and(|it| it.chars().last().is_some_and(is_wide))
    }
}

fn spell(words: &mut Vec<Spelled>, token: &WhisperToken<'_, '_>, seconds: f64) {
    let bytes = token.to_bytes().unwrap_or_default();
    let times = token.token_data();
    // Hundredths of a second; padding is silence after the window.
    let time = |hundredths: i64| (hundredths as f64 / 100.0).clamp(0.0, seconds);
    let (start, end) = (time(times.t0), time(times.t1.max(times.t0)));
    let begins = bytes.first() == Some(&b' ')
        || words.last().is_none_or(|word| {
            word.stands_alone() && !bytes.first().is_some_and(u8::is_ascii_punctuation)
        });
    match words.last_mut() {
        Some(word) if !begins => {
            word.bytes.extend_from_slice(bytes);
            word.end = end;
            word.probabilities.push(token.token_probability());
        }
        _ => words.push(Spelled {
            bytes: bytes.to_vec(),
            start,
            end,
            probabilities: vec![token.token_probability()],
        }),
    }
}
