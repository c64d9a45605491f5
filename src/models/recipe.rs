//! The diarizer's files, made of a wheel's data by recipe.
//!
//! The library in the wheel of moonshine-voice carries the networks of pyannote community-1 in a form that
//! ONNX Runtime can run but not optimise. `scripts/models/make_recipes.py` wrote down how plain ONNX graphs
//! are made of the same numbers: copied, quantised per channel, or expanded to float, with the graph
//! around them as literals. What comes out is compared with its hash, byte for byte.

use std::io::{Cursor, Read};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::models::elf::Library;
use crate::models::manifest::hex;

const RECIPES: &[u8] = include_bytes!("community1.zip");

/// Where the data lies in the library.
const NAMESPACE: &str = "_ZN9cppannote19embedded_community1";

#[derive(Debug, Deserialize)]
struct Recipe {
    name: String,
    sha256: String,
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    /// Base 64.
    Literal(String),
    /// Bytes of a symbol.
    Copy { symbol: String, at: usize, count: usize },
    /// 8-bit weights with a scale for each output channel, the first dimension.
    Quantise {
        #[serde(flatten)]
        weights: Weights,
        /// Base 64 of f32.
        channel_scales: String,
    },
    /// Weights as f32.
    Expand(Weights),
}

/// Weights as the library has them: `value = stored * scale + zero`.
#[derive(Debug, Deserialize)]
struct Weights {
    symbol: String,
    at: usize,
    count: usize,
    r#type: Stored,
    scale: f32,
    zero: f32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stored {
    I8,
    U8,
    F32,
}

/// Every file of the diarizer, by name, made of `library`.
pub(crate) fn follow(library: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let library = Library::parse(library).ok_or("its library is not an ELF file")?;
    let files = recipes()?.into_iter().map(|recipe| {
        let bytes = recipe.parts.iter().try_fold(Vec::new(), |mut bytes, part| {
            bytes.extend(part.bytes(&library)?);
            Ok::<_, String>(bytes)
        })?;
        if hex(&Sha256::digest(&bytes)) != recipe.sha256 {
            return Err(format!("{} came out wrong", recipe.name));
        }
        Ok((recipe.name, bytes))
    });
    files.collect()
}

fn recipes() -> Result<Vec<Recipe>, String> {
    let read = || -> Result<String, zip::result::ZipError> {
        let mut text = String::new();
        ZipArchive::new(Cursor::new(RECIPES))?
            .by_name("recipes.json")?
            .read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|err| err.to_string())?;
    serde_json::from_str(&text).map_err(|err| err.to_string())
}

impl Part {
    fn bytes(&self, library: &Library<'_>) -> Result<Vec<u8>, String> {
        match self {
            Self::Literal(text) => decoded(text),
            Self::Copy { symbol, at, count } => Ok(data(library, symbol, *at, *count)?.to_vec()),
            Self::Expand(weights) => {
                Ok(weights.values(library)?.into_iter().flat_map(f32::to_le_bytes).collect())
            }
            Self::Quantise { weights, channel_scales } => {
                let scales: Vec<f32> = decoded(channel_scales)?
                    .as_chunks()
                    .0
                    .iter()
                    .map(|it| f32::from_le_bytes(*it))
                    .collect();
                quantised(&weights.values(library)?, &scales)
            }
        }
    }
}

impl Weights {
    fn values(&self, library: &Library<'_>) -> Result<Vec<f32>, String> {
        let width = match self.r#type {
            Stored::I8 | Stored::U8 => 1,
            Stored::F32 => 4,
        };
        let stored = data(library, &self.symbol, self.at, self.count * width)?;
        let value = |number: f32| number * self.scale + self.zero;
        Ok(match self.r#type {
            Stored::I8 => stored.iter().map(|byte| value(f32::from(byte.cast_signed()))).collect(),
            Stored::U8 => stored.iter().map(|byte| value(f32::from(*byte))).collect(),
            Stored::F32 => {
                stored.as_chunks().0.iter().map(|it| value(f32::from_le_bytes(*it))).collect()
            }
        })
    }
}

/// Rounded to the nearest, halves to even, as the quantiser of ONNX Runtime does.
fn quantised(values: &[f32], scales: &[f32]) -> Result<Vec<u8>, String> {
    if scales.is_empty() || !values.len().is_multiple_of(scales.len()) {
        return Err("weights do not divide into channels".to_owned());
    }
    let channels = values.chunks_exact(values.len() / scales.len()).zip(scales);
    let bytes = channels.flat_map(|(channel, scale)| {
        channel.iter().map(move |value| {
            let rounded = (value / scale).round_ties_even().clamp(-128.0, 127.0);
            // Within the range of an `i8`, by the clamp.
            (rounded as i8).cast_unsigned()
        })
    });
    Ok(bytes.collect())
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|err| err.to_string())
}

fn data<'a>(
    library: &Library<'a>,
    symbol: &str,
    at: usize,
    count: usize,
) -> Result<&'a [u8], String> {
    let mangled = format!("{NAMESPACE}{}{symbol}E", symbol.len());
    let data = library.data(&mangled).ok_or_else(|| format!("{symbol} is not in its library"))?;
    let end = at.checked_add(count);
    end.and_then(|end| data.get(at..end)).ok_or_else(|| format!("{symbol} is too short"))
}
