//! The facts of a decoded recording.

use crate::audio::creation_time;
use crate::audio::tags::Tags;
use crate::audio::track::Opened;
use crate::model::{SoundFacts, TIME_REFERENCE};
use std::fs::File;

/// All that is known after decoding.
pub(crate) fn facts(
    opened: &mut Opened,
    file: &File,
    rate: u32,
    channels: usize,
    frames: u64,
) -> SoundFacts {
    let mut tags = Tags::read(opened.format.as_mut());
    if let Some(samples) = creation_time::time_reference(file, opened.container) {
        tags.shown.insert(TIME_REFERENCE.to_owned(), samples.to_string());
    }
    let parameters = opened.decoder.codec_params();
    let codec = opened.decoder.codec_info().short_name;
    SoundFacts {
        container: opened.container.to_owned(),
        codec: codec.to_owned(),
        channels: u16::try_from(channels).unwrap_or(u16::MAX),
        sample_rate: rate,
        bits_per_sample: parameters.bits_per_coded_sample.or(parameters.bits_per_sample),
        duration: frames as f64 / f64::from(rate.max(1)),
        created: creation_time::find(file, opened.container, &tags),
        tags: tags.shown,
    }
}
