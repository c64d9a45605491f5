//! Chooses the engine for a model's folder by the files in it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::speech::engine_files::{EngineOptions, Weights};
use crate::speech::{SpeechError, Transcriber};

/// First bytes of whisper.cpp's own format, little-endian.
const GGML_MAGIC: [u8; 4] = *b"lmgg";

/// A model up to this size runs once on each thread: two that run side by side do more than one that is
/// shared out.
const SMALL_BYTES: u64 = 200 << 20;

/// The recognizers in `folder` that together use `threads`.
pub(crate) fn open(
    folder: &Path,
    language: Option<&str>,
    threads: u16,
) -> Result<Vec<Box<dyn Transcriber>>, SpeechError> {
    let bad = |why: String| SpeechError::BadModel { folder: folder.display().to_string(), why };
    let files = files(folder).map_err(|err| bad(err.to_string()))?;
    let weights = recognize(&files).ok_or_else(|| {
        bad("scribefs does not recognise its files; check it with `scribefs models verify`".into())
    })?;
    let options = EngineOptions {
        language: language.map(str::to_owned),
        only_language: only_language(folder),
        threads: threads.max(1),
    };
    match weights {
        Weights::Ggml(file) => Ok(vec![open_ggml(&file, options).map_err(bad)?]),
        weights => {
            let bytes: u64 =
                files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
            let (copies, threads) =
                if bytes <= SMALL_BYTES { (options.threads, 1) } else { (1, options.threads) };
            let options = EngineOptions { threads, ..options };
            open_onnx(&weights, &options, copies).map_err(bad)
        }
    }
}

#[cfg(feature = "sherpa")]
fn open_onnx(
    weights: &Weights,
    options: &EngineOptions,
    copies: u16,
) -> Result<Vec<Box<dyn Transcriber>>, String> {
    let sherpa = crate::speech::sherpa::Sherpa::open(weights, options)?;
    Ok((0..copies).map(|_| Box::new(sherpa.clone()) as Box<dyn Transcriber>).collect())
}

#[cfg(not(feature = "sherpa"))]
fn open_onnx(_: &Weights, _: &EngineOptions, _: u16) -> Result<Vec<Box<dyn Transcriber>>, String> {
    Err("this build has no sherpa-onnx (Cargo feature `sherpa`)".to_owned())
}

#[cfg(feature = "whisper")]
fn open_ggml(file: &Path, options: EngineOptions) -> Result<Box<dyn Transcriber>, String> {
    Ok(Box::new(crate::speech::whisper::Whisper::open(file, options)?))
}

#[cfg(not(feature = "whisper"))]
fn open_ggml(_: &Path, _: EngineOptions) -> Result<Box<dyn Transcriber>, String> {
    Err("this build has no whisper.cpp (Cargo feature `whisper`)".to_owned())
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.is_file());
    // Where a folder holds the same network twice, the 8-bit one comes first by name or is the only one.
    files.sort_by_key(|file| (!name(file).contains("int8"), name(file)));
    Ok(files)
}

fn recognize(files: &[PathBuf]) -> Option<Weights> {
    let part = |word: &str, extension: &str| {
        let fits = |file: &&PathBuf| name(file).contains(word) && name(file).ends_with(extension);
        files.iter().find(fits).cloned()
    };
    if let Some(file) = files.iter().find(|file| is_ggml(file)) {
        return Some(Weights::Ggml(file.clone()));
    }
    let tokens = part("tokens", ".txt")?;
    if let (Some(encoder), Some(decoder)) = (part("encoder", ".ort"), part("decoder", ".ort")) {
        return Some(Weights::Moonshine { encoder, decoder, tokens });
    }
    match (part("encoder", ".onnx"), part("decoder", ".onnx"), part("joiner", ".onnx")) {
        (Some(encoder), Some(decoder), Some(joiner)) => {
            Some(Weights::Transducer { encoder, decoder, joiner, tokens })
        }
        (Some(encoder), Some(decoder), None) => {
            Some(Weights::WhisperOnnx { encoder, decoder, tokens })
        }
        _ => Some(Weights::SenseVoice { model: part("model", ".onnx")?, tokens }),
    }
}

fn is_ggml(file: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == GGML_MAGIC
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// The language that the folder's name ends in: `-en`, `.en`.
fn only_language(folder: &Path) -> Option<String> {
    let name = name(folder);
    let (_, last) = name.rsplit_once(['-', '.'])?;
    let is_code = matches!(
        last,
        "ar" | "de"
            | "en"
            | "es"
            | "fr"
            | "it"
            | "ja"
            | "ko"
            | "nl"
            | "pl"
            | "pt"
            | "ru"
            | "tr"
            | "uk"
            | "vi"
            | "zh"
    );
    is_code.then(|| last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognized(names: &[&str]) -> Option<Weights> {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let content: &[u8] = if name.ends_with(".bin") { b"lmggrest" } else { b"" };
            fs::write(dir.path().join(name), content).unwrap();
        }
        recognize(&files(dir.path()).unwrap())
    }

    #[test]
    fn a_folder_is_known_by_its_files() {
        use Weights::{Ggml, Moonshine, SenseVoice, Transducer, WhisperOnnx};
        let moonshine = ["encoder_model.ort", "decoder_model_merged.ort", "tokens.txt"];
        assert!(matches!(recognized(&moonshine), Some(Moonshine { .. })));
        let parakeet = ["encoder.int8.onnx", "decoder.int8.onnx", "joiner.int8.onnx", "tokens.txt"];
        assert!(matches!(recognized(&parakeet), Some(Transducer { .. })));
        let whisper = ["tiny-encoder.int8.onnx", "tiny-decoder.int8.onnx", "tiny-tokens.txt"];
        assert!(matches!(recognized(&whisper), Some(WhisperOnnx { .. })));
        let sense = ["model.onnx", "model.int8.onnx", "tokens.txt"];
        let Some(SenseVoice { model, .. }) = recognized(&sense) else { panic!("SenseVoice") };
        assert!(model.ends_with("model.int8.onnx"));
        assert!(matches!(recognized(&["ggml-base.en.bin"]), Some(Ggml(_))));
        assert_eq!(recognized(&["notes.txt"]), None);
        assert_eq!(recognized(&[]), None);
    }

    #[test]
    fn the_name_may_say_the_language() {
        let only = |name: &str| only_language(Path::new(name));
        assert_eq!(only("moonshine-tiny-en").as_deref(), Some("en"));
        assert_eq!(only("whisper-base.en").as_deref(), Some("en"));
        assert_eq!(only("parakeet-tdt-0.6b-v3"), None);
    }
}
