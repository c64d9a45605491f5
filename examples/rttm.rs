//! Who speaks when in a file of raw sound, as RTTM on stdout.
//!
//! ```text
//! ffmpeg -i meeting.m4a -f s16le -ac 1 -ar 16000 meeting.raw
//! cargo run --release --example rttm -- ~/.local/share/scribefs/models/pyannote-community-1 2 meeting.raw
//! ```

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use scribefs::model::SpeakerBounds;
use scribefs::speech::open_diarizer;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, threads, file, hint @ ..] = arguments.as_slice() else {
        return Err("usage: rttm MODEL_FOLDER THREADS SOUND.raw [SPEAKERS]".into());
    };
    let speakers = hint.first().map(|number| number.parse()).transpose()?;
    let speakers = SpeakerBounds { at_least: speakers, at_most: speakers };
    let mut diarizer = open_diarizer(Path::new(folder), threads.parse()?)?;
    // SAFETY: the file is the user's own and nobody writes it meanwhile.
    let bytes = unsafe { memmap2::Mmap::map(&File::open(file)?)? };
    // SAFETY: every pair of bytes is an `i16`, and a map begins at a page.
    let (_, sound, _) = unsafe { bytes.align_to::<i16>() };
    let begun = Instant::now();
    let found = diarizer.diarize(sound, speakers, &mut |_| ControlFlow::Continue(()))?;
    let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
    let mut out = std::io::stdout().lock();
    for turn in &found.turns {
        let who = turn.speaker.map_or("unknown".into(), |speaker| speaker.to_string());
        let length = turn.end - turn.start;
        writeln!(out, "SPEAKER {name} 1 {:.3} {length:.3} <NA> <NA> {who} <NA> <NA>", turn.start)?;
    }
    let seconds = sound.len() as f64 / 16_000.0;
    let speed = begun.elapsed().as_secs_f64() / seconds;
    eprintln!("{name}: {} speakers, {speed:.4} s per second of sound", found.voices.len());
    Ok(())
}
