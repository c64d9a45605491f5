//! What can be had: names, sizes, licences, and where each file comes from.

use crate::models::Kind;

/// One model that `scribefs models pull` knows.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub name: &'static str,
    pub kind: Kind,
    /// For people: `English`, `99 languages`.
    pub languages: &'static str,
    pub licence: &'static str,
    pub source: Source,
}

/// Where a model comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// Inside the PyPI wheel of moonshine-voice.
    Wheel,
    /// Files by themselves.
    Files(&'static [RemoteFile]),
}

/// A file somewhere else.
#[derive(Debug, Clone, Copy)]
pub struct RemoteFile {
    pub name: &'static str,
    /// Below the root of Hugging Face or a mirror of it.
    pub path: &'static str,
    pub bytes: u64,
    /// `None` where its publisher names none: what came the first time is noted and held on to.
    pub sha256: Option<&'static str>,
}

impl Entry {
    /// Of what is downloaded.
    pub fn bytes(&self) -> u64 {
        match self.source {
            Source::Wheel => WHEELS[0].bytes,
            Source::Files(files) => files.iter().map(|file| file.bytes).sum(),
        }
    }
}

/// A wheel of moonshine-voice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PinnedWheel {
    pub(crate) file: &'static str,
    pub(crate) bytes: u64,
    pub(crate) sha256: &'static str,
}

/// What `pip` is asked for, and the wheels that may come of it.
pub(crate) const REQUIREMENT: &str = "moonshine-voice==0.0.73";
pub(crate) const WHEELS: [PinnedWheel; 2] = [
    PinnedWheel {
        file: "moonshine_voice-0.0.73-py3-none-manylinux_2_34_x86_64.whl",
        bytes: 56_320_672,
        sha256: "6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db",
    },
    PinnedWheel {
        file: "moonshine_voice-0.0.73-py3-none-manylinux_2_34_aarch64.whl",
        bytes: 55_105_425,
        sha256: "c56de7614b18bbc65d8f4f2cb7432d8a258311aef38a49e9e16c8d06df8085f0",
    },
];

/// What a mount needs when nothing else is said.
pub const DEFAULTS: [&str; 2] = ["moonshine-tiny-en", "pyannote-community-1"];

/// Everything, recognizers first, small before large.
pub const CATALOGUE: [Entry; 16] = [
    Entry {
        name: "moonshine-tiny-en",
        kind: Kind::Moonshine,
        languages: "English",
        licence: "MIT",
        source: Source::Wheel,
    },
    whisper(
        "whisper-tiny",
        &[pinned(
            "ggml-tiny.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-tiny.bin",
            77_691_713,
            "be07e048e1e599ad46341c8d2a135645097a538221678b7acdd1b1919c6e1b21",
        )],
    ),
    whisper(
        "whisper-tiny.en",
        &[pinned(
            "ggml-tiny.en.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-tiny.en.bin",
            77_704_715,
            "921e4cf8686fdd993dcd081a5da5b6c365bfde1162e72b08d75ac75289920b1f",
        )],
    ),
    whisper(
        "whisper-base",
        &[pinned(
            "ggml-base.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-base.bin",
            147_951_465,
            "60ed5bc3dd14eea856493d334349b405782ddcaf0028d4b5df4088345fba2efe",
        )],
    ),
    whisper(
        "whisper-base.en",
        &[pinned(
            "ggml-base.en.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-base.en.bin",
            147_964_211,
            "a03779c86df3323075f5e796cb2ce5029f00ec8869eee3fdfb897afe36c6d002",
        )],
    ),
    whisper(
        "whisper-small",
        &[pinned(
            "ggml-small.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-small.bin",
            487_601_967,
            "1be3a9b2063867b937e64e2ec7483364a79917e157fa98c5d94b5c1fffea987b",
        )],
    ),
    whisper(
        "whisper-small.en",
        &[pinned(
            "ggml-small.en.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-small.en.bin",
            487_614_201,
            "c6138d6d58ecc8322097e0f987c32f1be8bb0a18532a3f88f734d1bbf9c41e5d",
        )],
    ),
    whisper(
        "whisper-large-v3-turbo-q5",
        &[pinned(
            "ggml-large-v3-turbo-q5_0.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-large-v3-turbo-q5_0.bin",
            574_041_195,
            "394221709cd5ad1f40c46e6031ca61bce88931e6e088c188294c6d5a55ffa7e2",
        )],
    ),
    whisper(
        "whisper-large-v3-turbo-q8",
        &[RemoteFile {
            name: "ggml-large-v3-turbo-q8_0.bin",
            path: "ggerganov/whisper.cpp/resolve/main/ggml-large-v3-turbo-q8_0.bin",
            bytes: 874_188_075,
            sha256: None,
        }],
    ),
    whisper(
        "whisper-medium",
        &[pinned(
            "ggml-medium.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-medium.bin",
            1_533_763_059,
            "6c14d5adee5f86394037b4e4e8b59f1673b6cee10e3cf0b11bbdbee79c156208",
        )],
    ),
    whisper(
        "whisper-large-v3-turbo",
        &[pinned(
            "ggml-large-v3-turbo.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-large-v3-turbo.bin",
            1_624_555_275,
            "1fc70f774d38eb169993ac391eea357ef47c88757ef72ee5943879b7e8e2bc69",
        )],
    ),
    whisper(
        "whisper-large-v3",
        &[pinned(
            "ggml-large-v3.bin",
            "ggerganov/whisper.cpp/resolve/main/ggml-large-v3.bin",
            3_095_033_483,
            "64d182b440b98d5203c4f9bd541544d84c605196c4f7b845dfa11fb23594d1e2",
        )],
    ),
    Entry {
        name: "sense-voice-small",
        kind: Kind::SenseVoice,
        languages: "Chinese, Cantonese, English, Japanese, Korean",
        licence: "FunASR Model License",
        source: Source::Files(&[
            pinned(
                "model.int8.onnx",
                "csukuangfj/sherpa-onnx-sense-voice-zh-en-ja-ko-yue-2024-07-17/resolve/main/model.int8.onnx",
                239_233_841,
                "c71f0ce00bec95b07744e116345e33d8cbbe08cef896382cf907bf4b51a2cd51",
            ),
            pinned(
                "tokens.txt",
                "csukuangfj/sherpa-onnx-sense-voice-zh-en-ja-ko-yue-2024-07-17/resolve/main/tokens.txt",
                315_894,
                "f449eb28dc567533d7fa59be34e2abca8784f771850c78a47fb731a31429a1dc",
            ),
        ]),
    },
    Entry {
        name: "parakeet-tdt-0.6b-v2",
        kind: Kind::Transducer,
        languages: "English",
        licence: "CC BY 4.0",
        source: Source::Files(&[
            pinned(
                "encoder.int8.onnx",
                "csukuangfj/sherpa-onnx-nemo-parakeet-tdt-0.6b-v2-int8/resolve/main/encoder.int8.onnx",
                652_184_296,
                "a32b12d17bbbc309d0686fbbcc2987b5e9b8333a7da83fa6b089f0a2acd651ab",
            ),
            pinned(
                "decoder.int8.onnx",
                "csukuangfj/sherpa-onnx-nemo-parakeet-tdt-0.6b-v2-int8/resolve/main/decoder.int8.onnx",
                7_257_753,
                "b6bb64963457237b900e496ee9994b59294526439fbcc1fecf705b31a15c6b4e",
            ),
            pinned(
                "joiner.int8.onnx",
                "csukuangfj/sherpa-onnx-nemo-parakeet-tdt-0.6b-v2-int8/resolve/main/joiner.int8.onnx",
                1_739_080,
                "7946164367946e7f9f29a122407c3252b680dbae9a51343eb2488d057c3c43d2",
            ),
            pinned(
                "tokens.txt",
                "csukuangfj/sherpa-onnx-nemo-parakeet-tdt-0.6b-v2-int8/resolve/main/tokens.txt",
                9_384,
                "ec182b70dd42113aff6c5372c75cac58c952443eb22322f57bbd7f53977d497d",
            ),
        ]),
    },
    Entry {
        name: "parakeet-tdt-0.6b-v3",
        kind: Kind::Transducer,
        languages: "25 European languages",
        licence: "CC BY 4.0",
        source: Source::Files(&[
            RemoteFile {
                name: "encoder.int8.onnx",
                path: "csukuangfj/sherpa-onnx-nemo-parakeet-tdt-0.6b-v3-int8/resolve/main/encoder.int8.onnx",
                bytes: 652_184_281,
                sha256: None,
            },
            pinned(
                "decoder.int8.onnx",
                "csukuangfj/sherpa-onnx-nemo-parakeet-tdt-0.6b-v3-int8/resolve/main/decoder.int8.onnx",
                11_845_275,
                "179e50c43d1a9de79c8a24149a2f9bac6eb5981823f2a2ed88d655b24248db4e",
            ),
            pinned(
                "joiner.int8.onnx",
                "csukuangfj/sherpa-onnx-nemo-parakeet-tdt-0.6b-v3-int8/resolve/main/joiner.int8.onnx",
                6_355_277,
                "3164c13fc2821009440d20fcb5fdc78bff28b4db2f8d0f0b329101719c0948b3",
            ),
            pinned(
                "tokens.txt",
                "csukuangfj/sherpa-onnx-nemo-parakeet-tdt-0.6b-v3-int8/resolve/main/tokens.txt",
                93_939,
                "d58544679ea4bc6ac563d1f545eb7d474bd6cfa467f0a6e2c1dc1c7d37e3c35d",
            ),
        ]),
    },
    Entry {
        name: "pyannote-community-1",
        kind: Kind::CommunityOne,
        languages: "any language",
        licence: "CC BY 4.0",
        source: Source::Wheel,
    },
];

const fn whisper(name: &'static str, files: &'static [RemoteFile]) -> Entry {
    let bytes = name.as_bytes();
    // `.en` at the end.
    let is_english = bytes[bytes.len() - 3] == b'.';
    let languages = if is_english { "English" } else { "99 languages" };
    Entry { name, kind: Kind::Ggml, languages, licence: "MIT", source: Source::Files(files) }
}

const fn pinned(
    name: &'static str,
    path: &'static str,
    bytes: u64,
    sha256: &'static str,
) -> RemoteFile {
    RemoteFile { name, path, bytes, sha256: Some(sha256) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_catalogue_is_of_one_piece() {
        let names: BTreeSet<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        assert!(DEFAULTS.iter().all(|name| names.contains(name)));
        for entry in CATALOGUE {
            let Source::Files(files) = entry.source else { continue };
            let file_names: Vec<String> = files.iter().map(|file| file.name.to_owned()).collect();
            assert_eq!(Kind::of(&file_names), Some(entry.kind), "{}", entry.name);
            for file in files {
                assert!(file.path.ends_with(file.name), "{}", file.path);
                assert!(file.sha256.is_none_or(|sha256| sha256.len() == 64));
            }
        }
    }
}
