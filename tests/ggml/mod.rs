//! A model for whisper.cpp of the right shape, with random weights: it hears nonsense, by the real code.
//!
//! The format is that of whisper.cpp's `models/convert-pt-to-ggml.py`: a magic number, eleven sizes, mel
//! filters, the vocabulary, then tensors, each behind its name.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const VOCABULARY: i32 = 51_865;
const WORDS: i32 = 50_257;
const STATE: i32 = 64;
const HEADS: i32 = 2;
const AUDIO_CONTEXT: i32 = 1_500;
const TEXT_CONTEXT: i32 = 448;
const MELS: i32 = 80;
const SPECTRUM: i32 = 201;

/// Weights of 16 bits: whisper.cpp's convolutions want them so.
const HALF: i32 = 1;
const SINGLE: i32 = 0;

pub(crate) fn write_random_model(path: &Path) {
    let mut model = Model { out: BufWriter::new(File::create(path).unwrap()), random: 1 };
    model.write().unwrap();
}

struct Model {
    out: BufWriter<File>,
    random: u32,
}

impl Model {
    fn write(&mut self) -> io::Result<()> {
        self.out.write_all(b"lmgg")?;
        let one_layer = 1;
        let sizes = [
            VOCABULARY,
            AUDIO_CONTEXT,
            STATE,
            HEADS,
            one_layer,
            TEXT_CONTEXT,
            STATE,
            HEADS,
            one_layer,
            MELS,
            HALF,
        ];
        self.numbers(&sizes)?;
        self.numbers(&[MELS, SPECTRUM])?;
        self.values(MELS * SPECTRUM, 0.01)?;
        self.numbers(&[WORDS])?;
        for word in 0..WORDS {
            // whisper.cpp looks these three up by name.
            let word = match word {
                0 => " ".to_owned(),
                1 => " -".to_owned(),
                2 => " '".to_owned(),
                _ => format!(" w{word}"),
            };
            self.numbers(&[i32::try_from(word.len()).unwrap()])?;
            self.out.write_all(word.as_bytes())?;
        }
        self.encoder()?;
        self.decoder()?;
        self.out.flush()
    }

    fn encoder(&mut self) -> io::Result<()> {
        self.tensor("encoder.positional_embedding", &[STATE, AUDIO_CONTEXT])?;
        self.tensor("encoder.conv1.weight", &[3, MELS, STATE])?;
        self.tensor("encoder.conv1.bias", &[1, STATE])?;
        self.tensor("encoder.conv2.weight", &[3, STATE, STATE])?;
        self.tensor("encoder.conv2.bias", &[1, STATE])?;
        self.norm("encoder.ln_post")?;
        self.block("encoder.blocks.0", &["attn"])
    }

    fn decoder(&mut self) -> io::Result<()> {
        self.tensor("decoder.positional_embedding", &[STATE, TEXT_CONTEXT])?;
        self.tensor("decoder.token_embedding.weight", &[STATE, VOCABULARY])?;
        self.norm("decoder.ln")?;
        self.block("decoder.blocks.0", &["attn", "cross_attn"])
    }

    fn block(&mut self, name: &str, attentions: &[&str]) -> io::Result<()> {
        self.norm(&format!("{name}.mlp_ln"))?;
        self.tensor(&format!("{name}.mlp.0.weight"), &[STATE, 4 * STATE])?;
        self.tensor(&format!("{name}.mlp.0.bias"), &[4 * STATE])?;
        self.tensor(&format!("{name}.mlp.2.weight"), &[4 * STATE, STATE])?;
        self.tensor(&format!("{name}.mlp.2.bias"), &[STATE])?;
        for attention in attentions {
            self.norm(&format!("{name}.{attention}_ln"))?;
            for part in ["query", "key", "value", "out"] {
                self.tensor(&format!("{name}.{attention}.{part}.weight"), &[STATE, STATE])?;
                // A key has no bias in whisper.
                if part != "key" {
                    self.tensor(&format!("{name}.{attention}.{part}.bias"), &[STATE])?;
                }
            }
        }
        Ok(())
    }

    fn norm(&mut self, name: &str) -> io::Result<()> {
        self.tensor(&format!("{name}.weight"), &[STATE])?;
        self.tensor(&format!("{name}.bias"), &[STATE])
    }

    fn tensor(&mut self, name: &str, sizes: &[i32]) -> io::Result<()> {
        let is_half = name.ends_with(".weight") && 1 < sizes.len();
        let kind = if is_half { HALF } else { SINGLE };
        let (dimensions, length) = (sizes.len(), name.len());
        self.numbers(&[i32::try_from(dimensions).unwrap(), i32::try_from(length).unwrap(), kind])?;
        self.numbers(sizes)?;
        self.out.write_all(name.as_bytes())?;
        let count = sizes.iter().product();
        if is_half { self.halves(count) } else { self.values(count, 0.1) }
    }

    /// Random numbers of 16 bits between 0.03 and 0.12, of either sign.
    fn halves(&mut self, count: i32) -> io::Result<()> {
        for _ in 0..count {
            self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let bits = u16::try_from(self.random >> 16).unwrap();
            // An exponent of 2^-5 or 2^-4, and any fraction.
            let half = (bits & 0x83FF) | (0x2800 + (bits & 0x0400));
            self.out.write_all(&half.to_le_bytes())?;
        }
        Ok(())
    }

    fn numbers(&mut self, numbers: &[i32]) -> io::Result<()> {
        numbers.iter().try_for_each(|number| self.out.write_all(&number.to_le_bytes()))
    }

    /// Small random values, the same in every run.
    fn values(&mut self, count: i32, size: f32) -> io::Result<()> {
        for _ in 0..count {
            self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (self.random >> 8) as f32 / (1 << 23) as f32 - 1.0;
            self.out.write_all(&(value * size).to_le_bytes())?;
        }
        Ok(())
    }
}
