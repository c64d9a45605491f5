//! Recognizers that sherpa-onnx runs: Moonshine, transducers, Whisper in ONNX, SenseVoice.

use std::path::Path;
use std::sync::Arc;

use sherpa_onnx::{OfflineModelConfig, OfflineRecognizer, OfflineRecognizerConfig};

use crate::speech::engine_files::{EngineOptions, Weights};
use crate::speech::repetition::is_wide;
use crate::speech::{SAMPLE_RATE, SpeechError, TranscribedWord, Transcriber, Transcription};

/// Shorter windows are followed by silence: some networks need a few frames to run at all.
const LEAST_SAMPLES: usize = SAMPLE_RATE / 2;

/// One recognizer. Its clones share the weights, so that each thread has one of its own at no cost.
#[derive(Clone)]
pub(crate) struct Sherpa {
    recognizer: Arc<OfflineRecognizer>,
    has_word_times: bool,
    language: Option<String>,
}

impl Sherpa {
    pub(crate) fn open(weights: &Weights, options: &EngineOptions) -> Result<Self, String> {
        let config = OfflineRecognizerConfig {
            model_config: model_config(weights, options)?,
            ..OfflineRecognizerConfig::default()
        };
        let recognizer = OfflineRecognizer::create(&config)
            .ok_or("sherpa-onnx cannot use these files; `scribefs models verify` checks them")?;
        let has_word_times =
            matches!(weights, Weights::Transducer { .. } | Weights::SenseVoice { .. });
        let language = options.only_language.clone().or_else(|| options.language.clone());
        Ok(Self { recognizer: Arc::new(recognizer), has_word_times, language })
    }
}

fn model_config(weights: &Weights, options: &EngineOptions) -> Result<OfflineModelConfig, String> {
    let mut config = OfflineModelConfig {
        num_threads: i32::from(options.threads),
        ..OfflineModelConfig::default()
    };
    let language = options.language.clone();
    match weights {
        Weights::Moonshine { encoder, decoder, tokens } => {
            config.moonshine.encoder = Some(text(encoder)?);
            config.moonshine.merged_decoder = Some(text(decoder)?);
            config.tokens = Some(text(tokens)?);
        }
        Weights::Transducer { encoder, decoder, joiner, tokens } => {
            config.transducer.encoder = Some(text(encoder)?);
            config.transducer.decoder = Some(text(decoder)?);
            config.transducer.joiner = Some(text(joiner)?);
            config.tokens = Some(text(tokens)?);
        }
        Weights::WhisperOnnx { encoder, decoder, tokens } => {
            config.whisper.encoder = Some(text(encoder)?);
            config.whisper.decoder = Some(text(decoder)?);
            config.whisper.language = language;
            config.whisper.task = Some("transcribe".to_owned());
            config.tokens = Some(text(tokens)?);
        }
        Weights::SenseVoice { model, tokens } => {
            config.sense_voice.model = Some(text(model)?);
            config.sense_voice.language = Some(language.unwrap_or_else(|| "auto".to_owned()));
            config.sense_voice.use_itn = true;
            config.tokens = Some(text(tokens)?);
        }
        Weights::Ggml(_) => return Err("a ggml file is for whisper.cpp".to_owned()),
    }
    Ok(config)
}

fn text(path: &Path) -> Result<String, String> {
    let text = path.to_str().filter(|text| !text.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| "its path is not UTF-8".to_owned())
}

impl Transcriber for Sherpa {
    fn transcribe(&mut self, window: &[f32]) -> Result<Transcription, SpeechError> {
        let stream = self.recognizer.create_stream();
        let rate = 16_000;
        if window.len() < LEAST_SAMPLES {
            let mut padded = window.to_vec();
            padded.resize(LEAST_SAMPLES, 0.0);
            stream.accept_waveform(rate, &padded);
        } else {
            stream.accept_waveform(rate, window);
        }
        self.recognizer.decode(&stream);
        let result = stream
            .get_result()
            .ok_or_else(|| SpeechError::Engine("sherpa-onnx gave no result".to_owned()))?;
        let seconds = window.len() as f64 / SAMPLE_RATE as f64;
        let words = match result.timestamps {
            Some(starts) if self.has_word_times && starts.len() == result.tokens.len() => {
                words(&result.tokens, &starts, result.durations.as_deref(), seconds)
            }
            _ => Vec::new(),
        };
        Ok(Transcription {
            text: result.text.trim().to_owned(),
            words,
            language: self.language.clone(),
            ..Transcription::default()
        })
    }

    fn has_word_times(&self) -> bool {
        self.has_word_times
    }
}

/// Tokens joined to words. A token that begins with a blank (or its sign in SentencePiece) begins a word.
fn words(
    tokens: &[String],
    starts: &[f32],
    durations: Option<&[f32]>,
    seconds: f64,
) -> Vec<TranscribedWord> {
    /// A word of unknown length lasts no longer than this.
    const LONGEST: f64 = 1.0;
    let mut words: Vec<TranscribedWord> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        // SenseVoice says language and mood in tokens such as `<|en|>`.
        if token.starts_with("<|") {
            continue;
        }
        let start = f64::from(starts[at]).clamp(0.0, seconds);
        let known =
            durations.and_then(|durations| durations.get(at)).copied().filter(|it| *it > 0.0);
        let next = starts.get(at + 1).map_or(seconds, |next| f64::from(*next));
        let end = known.map_or(next.min(start + LONGEST), |known| start + f64::from(known));
        let text = token.replace('▁', " ");
        let begins =
            text.starts_with(' ') || words.is_empty() || text.chars().next().is_some_and(is_wide);
        let text = text.trim();
        let end = end.clamp(start, seconds);
        match words.last_mut() {
            Some(word) if !begins || text.is_empty() => {
                word.word.push_str(text);
                word.end = end;
            }
            _ => {
                words.push(TranscribedWord { word: text.to_owned(), start, end, probability: None })
            }
        }
    }
    words.retain(|word| !word.word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_become_words_with_their_times() {
        let tokens = ["▁good", "▁mor", "ning", ".", " yes"].map(str::to_owned);
        let words = words(&tokens, &[0.1, 0.5, 0.7, 0.9, 3.0], None, 4.0);
        let told: Vec<(&str, f64, f64)> =
            words.iter().map(|word| (word.word.as_str(), word.start, word.end)).collect();
        let f = |value: f32| f64::from(value);
        assert_eq!(
            told,
            [("good", f(0.1), 0.5), ("morning.", 0.5, f(0.9) + 1.0), ("yes", 3.0, 4.0)]
        );
    }
}
