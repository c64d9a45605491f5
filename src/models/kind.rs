//! What a folder of weights is, told by the files in it.

use serde::{Deserialize, Serialize};

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Recognizer,
    Diarizer,
}

/// Kinds of models that scribefs can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Moonshine v2, through sherpa-onnx.
    Moonshine,
    /// Parakeet and other transducers, through sherpa-onnx.
    Transducer,
    /// Whisper exported to ONNX, through sherpa-onnx.
    WhisperOnnx,
    /// Through sherpa-onnx.
    SenseVoice,
    /// Whisper in whisper.cpp's own format.
    Ggml,
    /// pyannote community-1, through ONNX Runtime.
    CommunityOne,
}

/// The files that our diarizer reads.
pub(crate) const COMMUNITY_ONE: [&str; 4] = [
    "embedding_head.safetensors",
    "embedding_trunk_int8.onnx",
    "plda.safetensors",
    "segmentation.onnx",
];

impl Kind {
    /// Of a folder with files of these names. `None`: no model that we know, or not all of one.
    pub fn of(names: &[String]) -> Option<Self> {
        let has = |word: &str, end: &str| {
            names.iter().any(|name| {
                let name = name.to_lowercase();
                name.contains(word) && name.ends_with(end)
            })
        };
        if COMMUNITY_ONE.iter().all(|wanted| names.iter().any(|name| name == wanted)) {
            return Some(Self::CommunityOne);
        }
        if has("ggml", ".bin") {
            return Some(Self::Ggml);
        }
        if !has("tokens", ".txt") {
            return None;
        }
        let parts = ["encoder", "decoder", "joiner"].map(|part| has(part, ".onnx"));
        match parts {
            _ if has("encoder", ".ort") && has("decoder", ".ort") => Some(Self::Moonshine),
            [true, true, true] => Some(Self::Transducer),
            [true, true, false] => Some(Self::WhisperOnnx),
            _ if has("model", ".onnx") => Some(Self::SenseVoice),
            _ => None,
        }
    }

    pub fn purpose(self) -> Purpose {
        match self {
            Self::CommunityOne => Purpose::Diarizer,
            _ => Purpose::Recognizer,
        }
    }

    /// The engine that runs it.
    pub fn engine(self) -> &'static str {
        match self {
            Self::Moonshine | Self::Transducer | Self::WhisperOnnx | Self::SenseVoice => {
                "sherpa-onnx"
            }
            Self::Ggml => "whisper.cpp",
            Self::CommunityOne => "onnxruntime",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_files_and_only_when_it_has_them_all() {
        let kind = |names: &[&str]| {
            Kind::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        let moonshine = ["decoder_model_merged.ort", "encoder_model.ort", "tokens.txt"];
        assert_eq!(kind(&moonshine), Some(Kind::Moonshine));
        assert_eq!(kind(&moonshine[..2]), None);
        assert_eq!(kind(&COMMUNITY_ONE), Some(Kind::CommunityOne));
        assert_eq!(kind(&COMMUNITY_ONE[..3]), None);
        assert_eq!(kind(&["ggml-base.bin"]), Some(Kind::Ggml));
        assert_eq!(kind(&["model.int8.onnx", "tokens.txt"]), Some(Kind::SenseVoice));
        assert_eq!(kind(&["README.md"]), None);
    }
}
