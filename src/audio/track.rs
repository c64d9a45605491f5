//! The container opened, its sound track chosen, a decoder made for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use symphonia::core::codecs::audio::well_known::CODEC_ID_SPEEX;
use symphonia::core::codecs::audio::{
    AudioCodecParameters, AudioDecoder, AudioDecoderOptions, CODEC_ID_NULL_AUDIO,
};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia_adapter_libopus::OpusDecoder;

use crate::audio::header_repair::HeaderRepairs;
use crate::audio::metadata_limit::Trim;
use crate::audio::sniff::{self, Signature};
use crate::audio::source::Source;
use crate::audio::{AudioError, error, metadata_hiding};

/// No recorder is slower or faster.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
const MOST_CHANNELS: usize = 64;
/// The demuxer looks at every track for every packet: thousands of them would take hours.
const MOST_TRACKS: usize = 64;

/// A container with a decoder for its sound.
pub(crate) struct Opened {
    pub(crate) format: Box<dyn FormatReader>,
    pub(crate) decoder: Box<dyn AudioDecoder>,
    pub(crate) track: Track,
    pub(crate) container: &'static str,
    pub(crate) repairs: HeaderRepairs,
    pub(crate) bytes: u64,
    /// Tags up to here are not shown to anybody.
    tags_end: u64,
    /// Position in the file, for progress.
    pub(crate) reached: Arc<AtomicU64>,
}

/// Opens `file` at its start.
pub(crate) fn open(file: &File, extension: &str) -> Result<Opened, AudioError> {
    let bytes = file.metadata()?.len();
    if bytes == 0 {
        return Err(error::empty());
    }
    let signature = sniff::of(&head(file)?);
    if let Signature::Foreign(what) = signature {
        return Err(needs_converter(what));
    }
    if let Signature::Secret(what, source) = signature {
        return Err(error::secret(what, source));
    }
    let trim = Trim::of(file, bytes, signature);
    let repairs = match signature {
        Signature::Wave => {
            HeaderRepairs::of_wave(file, trim.from).map_err(|_| error::damaged("a WAV file"))?
        }
        Signature::Movie => HeaderRepairs::of_mp4(file)?,
        Signature::Matroska => HeaderRepairs::of_matroska(file)?,
        _ => HeaderRepairs::default(),
    };
    let hidden = match signature {
        Signature::Movie => metadata_hiding::of_mp4(file, bytes),
        Signature::Matroska => metadata_hiding::of_matroska(file),
        Signature::Readable("an Ogg file") => metadata_hiding::of_ogg(file),
        _ => Vec::new(),
    };
    let tags_end = trim.from;
    let patches = hidden.into_iter().chain(repairs.patches.iter().cloned()).collect();
    let source = Source::open(file)?.trimmed(trim).with_patches(patches);
    let reached = source.reached();
    let format = probe(source, extension).map_err(|err| unopened(signature, extension, &err))?;
    let tracks = format.tracks().len();
    if MOST_TRACKS < tracks {
        return Err(error::impossible(&format!("{tracks} tracks")));
    }
    let (track, decoder) = choose(format.as_ref())?;
    let container = match repairs.is_rf64 {
        true => "rf64",
        false => container_name(format.format_info().short_name),
    };
    Ok(Opened { format, decoder, track, container, repairs, bytes, tags_end, reached })
}

fn head(file: &File) -> Result<Vec<u8>, AudioError> {
    let mut head = vec![0; 64];
    let count = file.read_at(&mut head, 0)?;
    head.truncate(count);
    Ok(head)
}

fn probe(source: Source, extension: &str) -> Result<Box<dyn FormatReader>, Error> {
    let mut hint = Hint::new();
    if !extension.is_empty() {
        hint.with_extension(extension);
    }
    let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
    symphonia::default::get_probe().probe(
        &hint,
        stream,
        FormatOptions::default(),
        MetadataOptions::default(),
    )
}

/// Why a container could not be opened, in words for its user.
fn unopened(signature: Signature, extension: &str, err: &Error) -> AudioError {
    log::debug!("no container was recognised: {err}");
    match (signature, sniff::foreign_by_extension(extension)) {
        (Signature::Wave, _) => match err {
            Error::Unsupported(_) => needs_converter("an unusual kind of WAV"),
            _ => error::damaged("a WAV file"),
        },
        (Signature::Readable(what), _) => error::damaged(what),
        (Signature::Movie, _) => error::damaged("an MP4 file"),
        (Signature::Matroska, _) => error::damaged("a Matroska or WebM file"),
        (_, Some(what)) => needs_converter(what),
        _ => match sniff::secret_by_extension(extension) {
            Some((what, source)) => error::secret(what, source),
            None => error::not_audio(),
        },
    }
}

pub(crate) fn needs_converter(what: &str) -> AudioError {
    AudioError::NeedsConverter { what: what.to_owned(), facts: None }
}

/// The first default track with sound that somebody can decode.
pub(crate) fn choose(
    format: &dyn FormatReader,
) -> Result<(Track, Box<dyn AudioDecoder>), AudioError> {
    let track = format.default_track(TrackType::Audio).or_else(|| {
        let mut tracks = format.tracks().iter();
        tracks.find(|track| track.track_type() == Some(TrackType::Audio))
    });
    let Some(track) = track else {
        // A track without parameters is one whose codec symphonia has never heard of.
        let is_unknown = format.tracks().iter().any(|track| track.codec_params.is_none());
        return Err(if is_unknown {
            needs_converter("an unknown codec")
        } else {
            error::no_sound_track()
        });
    };
    let parameters = track.codec_params.as_ref().and_then(|it| it.audio());
    let Some(parameters) = parameters else { return Err(error::no_sound_track()) };
    check(parameters)?;
    let decoder = codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|err| undecodable(parameters, &err))?;
    Ok((track.clone(), decoder))
}

fn check(parameters: &AudioCodecParameters) -> Result<(), AudioError> {
    if let Some(rate) = parameters.sample_rate.filter(|rate| !RATES.contains(rate)) {
        return Err(error::impossible(&format!("a sample rate of {rate} Hz")));
    }
    let channels = parameters.channels.as_ref().map(|channels| channels.count());
    if let Some(count) = channels.filter(|count| *count == 0 || MOST_CHANNELS < *count) {
        return Err(error::impossible(&format!("{count} channels")));
    }
    Ok(())
}

fn undecodable(parameters: &AudioCodecParameters, err: &Error) -> AudioError {
    log::debug!("no decoder: {err}");
    use symphonia::core::codecs::audio::well_known as known;
    let what = match parameters.codec {
        known::CODEC_ID_AAC => "HE-AAC or another AAC beyond AAC-LC",
        known::CODEC_ID_AC3 => "AC-3",
        known::CODEC_ID_EAC3 => "E-AC-3",
        known::CODEC_ID_DCA => "DTS",
        known::CODEC_ID_WMA => "Windows Media (WMA)",
        known::CODEC_ID_OPUS => "Opus with many channels",
        CODEC_ID_SPEEX => "Speex",
        CODEC_ID_NULL_AUDIO => "an unknown codec",
        _ => "an unusual codec",
    };
    match err {
        Error::Unsupported(_) => needs_converter(what),
        _ => error::damaged("a recording"),
    }
}

/// Symphonia's decoders, and libopus.
fn codecs() -> &'static CodecRegistry {
    static CODECS: OnceLock<CodecRegistry> = OnceLock::new();
    CODECS.get_or_init(|| {
        let mut codecs = CodecRegistry::new();
        symphonia::default::register_enabled_codecs(&mut codecs);
        codecs.register_audio_decoder::<OpusDecoder>();
        codecs
    })
}

/// The names that people and other programs use.
fn container_name(short_name: &'static str) -> &'static str {
    match short_name {
        "wave" => "wav",
        "isomp4" => "mp4",
        name => name,
    }
}

/// Whether the first MP3 frame, behind an ID3 tag, says how many there are (Xing, Info, VBRI).
fn has_frame_count(file: &File, from: u64) -> io::Result<bool> {
    let mut tag = [0; 10];
    file.read_exact_at(&mut tag, from)?;
    let size = tag[6..].iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7F));
    let start = if tag.starts_with(b"ID3") { from + 10 + size } else { from };
    let mut frame = [0; 256];
    let count = file.read_at(&mut frame, start)?;
    Ok([b"Xing", b"Info", b"VBRI"]
        .iter()
        .any(|name| frame[..count].windows(4).any(|bytes| bytes == name.as_slice())))
}

impl Opened {
    /// Seconds that the container claims, 0 where it claims nothing or is not to be believed.
    pub(crate) fn claimed_seconds(&self, file: &File) -> f64 {
        let parameters = self.track.codec_params.as_ref().and_then(|it| it.audio());
        let rate = parameters.and_then(|parameters| parameters.sample_rate).unwrap_or(0);
        if rate == 0 {
            return 0.0;
        }
        self.claimed_frames(file, rate).map_or(0.0, |frames| frames as f64 / f64::from(rate))
    }

    /// Frames that the container says there are, where it is to be believed.
    pub(crate) fn claimed_frames(&self, file: &File, rate: u32) -> Option<u64> {
        let is_believed = match self.container {
            // Their sizes have been looked at already.
            "wav" | "rf64" => false,
            // Without such a header the number is a guess from the first frames.
            "mp3" | "mp2" | "mp1" | "mpa" => has_frame_count(file, self.tags_end).unwrap_or(false),
            "adts" | "aac" => false,
            _ => true,
        };
        if !is_believed {
            return None;
        }
        let track = &self.track;
        let from_time = || {
            let (base, duration) = (track.time_base?, track.duration?);
            let seconds =
                duration.get() as f64 * f64::from(base.numer.get()) / f64::from(base.denom.get());
            // Negative and absurd values saturate.
            Some((seconds * f64::from(rate)) as u64)
        };
        track.num_frames.or_else(from_time)
    }
}
