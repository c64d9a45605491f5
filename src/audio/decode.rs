//! Decoding, once, from the first packet to the last that can be had.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::errors::Error;

use crate::audio::channels::ChannelWriter;
use crate::audio::resample::SpeechResampler;
use crate::audio::scratch::{PcmWriter, Scratch};
use crate::audio::track::{self, Opened};
use crate::audio::{AudioError, Decoded, Sound, error, facts};
use crate::model::Warning;

/// Packets in a row that fail before the rest is given up.
const MOST_FAILURES: u32 = 1_000;
/// Sound that is missing from what the container claims, as a share and in seconds, before it is said.
const MISSING_SHARE: f64 = 0.02;
const MISSING_SECONDS: f64 = 0.25;
/// Float samples far beyond full scale are scaled down; 12 dB above it are a loud mix, and clipped.
const ABSURD_PEAK: f32 = 4.0;
/// Sound after which a file's pace tells how much there will be: silence packs thousands of hours into a few
/// megabytes, and hours of decoding would tell no more.
const PACE_SECONDS: f64 = 600.0;

/// See [`crate::audio::decode()`].
pub(crate) fn decode(
    input: &File,
    extension: &str,
    scratch: &Scratch,
    longest: Duration,
    progress: &mut dyn FnMut(f32),
) -> Result<Decoded, AudioError> {
    let mut pass = |gain| {
        scratch.start_over();
        guarded(|| pass(input, extension, SoundWriter::new(scratch, gain), longest, progress))
    };
    let DecodePass { decoded, peak } = pass(1.0)?;
    if ABSURD_PEAK < peak {
        // Its files are written again.
        drop(decoded);
        return Ok(pass(0.9 / peak)?.decoded);
    }
    Ok(decoded)
}

/// A parser that meets what its author never thought of must not take the worker with it.
fn guarded(
    pass: impl FnOnce() -> Result<DecodePass, AudioError>,
) -> Result<DecodePass, AudioError> {
    catch_unwind(AssertUnwindSafe(pass)).unwrap_or_else(|_| Err(error::damaged("a recording")))
}

struct DecodePass {
    decoded: Decoded,
    peak: f32,
}

fn pass(
    input: &File,
    extension: &str,
    mut stream: SoundWriter<'_>,
    longest: Duration,
    progress: &mut dyn FnMut(f32),
) -> Result<DecodePass, AudioError> {
    let mut opened = track::open(input, extension)?;
    let claimed = opened.claimed_seconds(input);
    let length = LengthLimit { longest, claims_more: longest.as_secs_f64() < claimed };
    let end = read_packets(&mut opened, &mut stream, length, progress)?;
    let Some(rate) = stream.first_rate() else {
        return Err(nothing(&opened, &stream));
    };
    let (frames, channels) = (stream.frames, stream.channels);
    let warnings = warnings(&opened, input, &stream, end, rate);
    let facts = facts::facts(&mut opened, input, rate, channels, frames);
    let peak = stream.peak;
    let sound = stream.finish()?;
    progress(1.0);
    Ok(DecodePass { decoded: Decoded { facts, sound, warnings }, peak })
}

/// How reading came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamEnd {
    Whole,
    /// The file ended in the middle of something.
    Cut,
    /// What follows makes no sense.
    Nonsense,
}

/// How much sound is taken from one file.
#[derive(Debug, Clone, Copy)]
struct LengthLimit {
    longest: Duration,
    /// The header says that there is more, which may not be true.
    claims_more: bool,
}

impl LengthLimit {
    /// `used` is the share of the file that so much sound was packed in.
    fn check(self, seconds: f64, used: f32) -> Result<(), AudioError> {
        let longest = self.longest.as_secs_f64();
        // A header that claims too much is believed where the file goes on as it began.
        let foreseen = seconds / f64::from(used.clamp(f32::MIN_POSITIVE, 1.0));
        let is_foreseen = self.claims_more && PACE_SECONDS <= seconds && longest < foreseen;
        if longest < seconds || is_foreseen {
            return Err(error::too_long(self.longest));
        }
        Ok(())
    }
}

fn read_packets(
    opened: &mut Opened,
    stream: &mut SoundWriter<'_>,
    length: LengthLimit,
    progress: &mut dyn FnMut(f32),
) -> Result<StreamEnd, AudioError> {
    let mut failures = 0;
    let all = opened.bytes.max(1) as f32;
    let mut packed: u64 = 0;
    loop {
        let packet = match opened.format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(StreamEnd::Whole),
            Err(Error::IoError(err)) if err.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(StreamEnd::Cut);
            }
            Err(Error::ResetRequired) => {
                // Another stream follows, as in a chain of Ogg files.
                let Ok((track, decoder)) = track::choose(opened.format.as_ref()) else {
                    return Ok(StreamEnd::Nonsense);
                };
                (opened.track, opened.decoder) = (track, decoder);
                continue;
            }
            Err(err) => {
                log::debug!("a packet could not be read: {err}");
                failures += 1;
                if MOST_FAILURES < failures || !matches!(err, Error::DecodeError(_)) {
                    return Ok(StreamEnd::Nonsense);
                }
                continue;
            }
        };
        packed += packet.data.len() as u64;
        if packet.track_id != opened.track.id {
            continue;
        }
        progress(opened.reached.load(Ordering::Relaxed) as f32 / all);
        match opened.decoder.decode(&packet) {
            Ok(sound) => {
                failures = 0;
                stream.take(&sound)?;
                length.check(stream.seconds, packed as f32 / all)?;
            }
            Err(err) => {
                log::debug!("a packet could not be decoded: {err}");
                stream.failed_packets += 1;
                failures += 1;
                if MOST_FAILURES < failures {
                    return Ok(StreamEnd::Nonsense);
                }
            }
        }
    }
}

fn nothing(opened: &Opened, stream: &SoundWriter<'_>) -> AudioError {
    if stream.failed_packets != 0 && opened.decoder.codec_info().short_name == "aac" {
        return track::needs_converter("HE-AAC or another AAC beyond AAC-LC");
    }
    error::nothing_decodes(opened.container)
}

fn warnings(
    opened: &Opened,
    input: &File,
    stream: &SoundWriter<'_>,
    end: StreamEnd,
    rate: u32,
) -> Vec<Warning> {
    let warning = |code: &str, message: String| Warning { code: code.to_owned(), message };
    let mut warnings = Vec::new();
    let seconds = |frames: u64| frames as f64 / f64::from(rate.max(1));
    let claimed = opened.claimed_frames(input, rate).map_or(0.0, seconds);
    let missing = claimed - seconds(stream.frames);
    let is_short = MISSING_SECONDS.max(MISSING_SHARE * claimed) < missing;
    // A WAV file that is read to its end, whatever its header says, ends where a packet might go on.
    let is_cut = end == StreamEnd::Cut && !matches!(opened.container, "wav" | "rf64");
    if is_short || is_cut || opened.repairs.is_truncated {
        warnings.push(warning(
            "truncated",
            "The file ends before its sound does: it was cut short, or not copied completely."
                .to_owned(),
        ));
    }
    if stream.failed_packets != 0 || end == StreamEnd::Nonsense {
        warnings.push(warning(
            "corrupt",
            "Parts of the file are damaged and could not be decoded; times after them may be off."
                .to_owned(),
        ));
    }
    if stream.peak == 0.0 {
        warnings.push(warning("silent", "The recording contains only silence.".to_owned()));
    }
    warnings
}

/// Sound on its way from the decoder to the disk.
struct SoundWriter<'a> {
    scratch: &'a Scratch,
    gain: f32,
    planes: Vec<Vec<f32>>,
    out: Option<(u32, usize, SpeechResampler)>,
    /// Sound of the file, as first met.
    rate: Option<u32>,
    channels: usize,
    frames: u64,
    /// The same, at each packet's own rate.
    seconds: f64,
    peak: f32,
    failed_packets: u64,
    sink: Option<Sink>,
}

enum Sink {
    One(PcmWriter),
    Two(Box<ChannelWriter>),
}

impl<'a> SoundWriter<'a> {
    fn new(scratch: &'a Scratch, gain: f32) -> Self {
        Self {
            scratch,
            gain,
            planes: Vec::new(),
            out: None,
            rate: None,
            channels: 0,
            frames: 0,
            seconds: 0.0,
            peak: 0.0,
            failed_packets: 0,
            sink: None,
        }
    }

    fn first_rate(&self) -> Option<u32> {
        self.rate
    }

    fn take(&mut self, sound: &GenericAudioBufferRef<'_>) -> Result<(), AudioError> {
        let (rate, channels) = (sound.spec().rate(), sound.num_planes());
        if rate == 0 || channels == 0 {
            return Ok(());
        }
        if self.rate.is_none() {
            self.rate = Some(rate);
            self.channels = channels;
            self.sink = Some(match channels {
                2 => Sink::Two(Box::new(ChannelWriter::new(self.scratch)?)),
                _ => Sink::One(PcmWriter::new(self.scratch)?),
            });
        }
        sound.copy_to_vecs_planar(&mut self.planes);
        self.frames += sound.frames() as u64;
        self.seconds += sound.frames() as f64 / f64::from(rate);
        self.clean();
        self.fold();
        self.resample(rate)
    }

    /// Numbers that are none become silence.
    fn clean(&mut self) {
        for sample in self.planes.iter_mut().flatten() {
            *sample = if sample.is_finite() { *sample * self.gain } else { 0.0 };
            self.peak = self.peak.max(sample.abs());
        }
    }

    /// As many channels as the sink has: two are kept apart, others averaged.
    fn fold(&mut self) {
        let wanted = if matches!(self.sink, Some(Sink::Two(_))) { 2 } else { 1 };
        if self.planes.len() == wanted {
            return;
        }
        let count = self.planes.len() as f32;
        let frames = self.planes.first().map_or(0, Vec::len);
        let mut mixed = vec![0.0_f32; frames];
        for plane in &self.planes {
            mixed.iter_mut().zip(plane).for_each(|(sum, sample)| *sum += sample / count);
        }
        self.planes = vec![mixed; wanted];
    }

    fn resample(&mut self, rate: u32) -> Result<(), AudioError> {
        let wanted = self.planes.len();
        let fits = self.out.as_ref().is_some_and(|(is, count, _)| (*is, *count) == (rate, wanted));
        if !fits {
            self.flush()?;
            let resampler = SpeechResampler::new(rate, wanted)
                .ok_or_else(|| error::impossible(&format!("a sample rate of {rate} Hz")))?;
            self.out = Some((rate, wanted, resampler));
        }
        let Some((_, _, resampler)) = &mut self.out else { return Ok(()) };
        let sink = &mut self.sink;
        resampler.push(&self.planes, &mut |planes: &[Vec<f32>]| write(sink, planes))?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), AudioError> {
        let sink = &mut self.sink;
        if let Some((_, _, resampler)) = self.out.take() {
            resampler.finish(&mut |planes: &[Vec<f32>]| write(sink, planes))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Sound, AudioError> {
        self.flush()?;
        Ok(match self.sink {
            Some(Sink::Two(sides)) => sides.finish(self.scratch)?,
            Some(Sink::One(writer)) => Sound::Mixed(writer.finish()?),
            None => Sound::Mixed(PcmWriter::new(self.scratch)?.finish()?),
        })
    }
}

fn write(sink: &mut Option<Sink>, planes: &[Vec<f32>]) -> io::Result<()> {
    match (sink, planes) {
        (Some(Sink::One(writer)), [plane, ..]) => writer.write(plane.iter().copied()),
        (Some(Sink::Two(sides)), [left, right, ..]) => sides.write(left, right),
        _ => Ok(()),
    }
}
