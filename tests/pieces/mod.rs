//! Short recordings of public speech, each with bytes of its own.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::path::Path;

/// One second and a half of 16 kHz.
const SAMPLES: usize = 24_000;

/// Where the samples of the public recording begin.
const HEADER: usize = 44;

/// A public recording that `scripts/setup` has brought, 16 kHz mono; `None` where it is not here.
pub(crate) fn public_speech() -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("native/recordings/beckett.wav");
    std::fs::read(path).ok()
}

/// A WAV with a piece of `speech`; another number is another recording.
pub(crate) fn piece(speech: &[u8], number: usize) -> Vec<u8> {
    let samples = &speech[HEADER..];
    let from = (number * 331 * 2) % (samples.len() - 2 * SAMPLES);
    let piece = &samples[from..from + 2 * SAMPLES];
    // Two samples that nobody hears tell it from the others.
    let mark = u32::try_from(number).unwrap().to_le_bytes();
    let mut bytes = header(u32::try_from(piece.len() + mark.len()).unwrap());
    bytes.extend_from_slice(piece);
    bytes.extend_from_slice(&mark);
    bytes
}

fn header(data_bytes: u32) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend_from_slice(b"RIFF");
    header.extend_from_slice(&(36 + data_bytes).to_le_bytes());
    header.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    header.extend_from_slice(&16_000_u32.to_le_bytes());
    header.extend_from_slice(&32_000_u32.to_le_bytes());
    header.extend_from_slice(b"\x02\0\x10\0data");
    header.extend_from_slice(&data_bytes.to_le_bytes());
    header
}
