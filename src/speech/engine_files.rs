//! [`Weights`]: which engine a model's files are for, and what it is opened with.

use std::path::PathBuf;

/// What a folder of weights is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Weights {
    /// Moonshine v2: an encoder, a merged decoder, tokens in base64.
    Moonshine {
        encoder: PathBuf,
        decoder: PathBuf,
        tokens: PathBuf,
    },
    /// A transducer, such as Parakeet.
    Transducer {
        encoder: PathBuf,
        decoder: PathBuf,
        joiner: PathBuf,
        tokens: PathBuf,
    },
    /// Whisper, exported to ONNX.
    WhisperOnnx {
        encoder: PathBuf,
        decoder: PathBuf,
        tokens: PathBuf,
    },
    SenseVoice {
        model: PathBuf,
        tokens: PathBuf,
    },
    /// Whisper in whisper.cpp's format.
    Ggml(PathBuf),
}

/// How a recognizer is to run.
#[derive(Debug, Clone)]
pub(crate) struct EngineOptions {
    /// BCP 47 code; `None` lets the engine find out.
    #[cfg_attr(
        not(any(feature = "sherpa", feature = "whisper")),
        expect(dead_code, reason = "there is no engine to ask")
    )]
    pub(crate) language: Option<String>,
    /// What the model's name says it knows: `moonshine-tiny-en` knows `en`.
    #[cfg_attr(not(feature = "sherpa"), expect(dead_code, reason = "whisper knows by itself"))]
    pub(crate) only_language: Option<String>,
    pub(crate) threads: u16,
}
