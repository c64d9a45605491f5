//! How loud it is where: a level for the recognizer, quiet places to cut at, and, where no diarizer is
//! installed, who-speaks-when by level alone.

use crate::speech::SAMPLE_RATE;

/// Samples of one look at the level: 30 ms.
const FRAME: usize = SAMPLE_RATE * 3 / 100;

/// Speech below this level (of full scale, -36 dB) is raised for the recognizer ...
const QUIET: f32 = 0.016;
/// ... to this one (-24 dB), where recordings usually are.
const USUAL: f32 = 0.063;
/// Nothing is raised more than this (40 dB): below is only noise.
const MOST_GAIN: f32 = 100.0;

/// Width of the smoothing that a quiet place is looked for with: 0.1 s.
const SMOOTHING: usize = SAMPLE_RATE / 10;

/// A stretch of sound as the recognizers want it: -1 to 1, around zero, and not too quiet.
pub(crate) fn for_recognizer(sound: &[i16]) -> Vec<f32> {
    let sum: i64 = sound.iter().map(|sample| i64::from(*sample)).sum();
    let mean = sum as f32 / sound.len().max(1) as f32;
    let mut window: Vec<f32> =
        sound.iter().map(|sample| (f32::from(*sample) - mean) / 32_768.0).collect();
    let level = speech_level(&window);
    if 0.0 < level && level < QUIET {
        let peak = window.iter().fold(0.0_f32, |peak, value| peak.max(value.abs()));
        let gain = (USUAL / level).min(MOST_GAIN).min(0.99 / peak);
        window.iter_mut().for_each(|value| *value *= gain);
    }
    window
}

/// Root mean square of the loudest tenth of the frames.
fn speech_level(window: &[f32]) -> f32 {
    let mut levels: Vec<f32> = window.chunks(FRAME).map(rms).collect();
    levels.sort_by(f32::total_cmp);
    let loud = &levels[levels.len() - levels.len().div_ceil(10)..];
    loud.iter().sum::<f32>() / loud.len().max(1) as f32
}

fn rms(frame: &[f32]) -> f32 {
    (frame.iter().map(|value| value * value).sum::<f32>() / frame.len().max(1) as f32).sqrt()
}

/// The quietest place of the middle third, smoothed over 0.1 s.
pub(crate) fn quiet_point(window: &[f32]) -> usize {
    let third = window.len() / 3;
    let middle = &window[third..2 * third];
    if middle.len() <= 3 * SMOOTHING {
        return window.len() / 2;
    }
    third + quietest(middle.iter().map(|value| value.abs()))
}

/// The quietest place of `sound`, smoothed over 0.1 s.
pub(crate) fn quiet_place(sound: &[i16]) -> usize {
    if sound.len() <= SMOOTHING {
        return sound.len() / 2;
    }
    quietest(sound.iter().map(|value| f32::from(value.unsigned_abs())))
}

/// Centre of the quietest 0.1 s. There are at least so many values.
fn quietest(levels: impl Iterator<Item = f32>) -> usize {
    let levels: Vec<f64> = levels.map(f64::from).collect();
    let mut sum: f64 = levels[..SMOOTHING].iter().sum();
    let mut best = (sum, 0);
    for start in 1..=levels.len() - SMOOTHING {
        sum += levels[start + SMOOTHING - 1] - levels[start - 1];
        if sum < best.0 {
            best = (sum, start);
        }
    }
    best.1 + SMOOTHING / 2
}

/// Stretches that stand out of the noise by 10 dB, in seconds. For want of a diarizer: anything that is as
/// loud as speech is taken for speech.
pub(crate) fn loud_stretches(sound: &[i16]) -> Vec<(f64, f64)> {
    /// Pauses up to 0.3 s are bridged, stretches under 0.24 s dropped.
    const PAUSE: usize = 10;
    const SHORTEST: usize = 8;
    let levels: Vec<f32> = sound
        .chunks(FRAME)
        .map(|frame| {
            let energy: f32 = frame.iter().map(|value| f32::from(*value).powi(2)).sum();
            (energy / frame.len() as f32).sqrt()
        })
        .collect();
    let mut sorted = levels.clone();
    sorted.sort_by(f32::total_cmp);
    let floor = sorted.get(sorted.len() / 10).copied().unwrap_or(0.0);
    // A signal that is never silent has no floor to stand out of; 33 is -60 dB of full scale.
    let threshold = (floor * 3.2).clamp(33.0, 1_000.0);
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, _) in levels.iter().enumerate().filter(|(_, level)| **level > threshold) {
        match runs.last_mut() {
            Some((_, end)) if at <= *end + PAUSE => *end = at + 1,
            _ => runs.push((at, at + 1)),
        }
    }
    let seconds = |frame: usize| (frame * FRAME).min(sound.len()) as f64 / SAMPLE_RATE as f64;
    let long = runs.into_iter().filter(|(start, end)| end - start >= SHORTEST);
    long.map(|(start, end)| (seconds(start), seconds(end))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(seconds: f32, level: f32) -> Vec<i16> {
        let samples = (seconds * 16_000.0) as usize;
        (0..samples).map(|at| ((at as f32 * 0.3).sin() * level * 32_767.0) as i16).collect()
    }

    #[test]
    fn quiet_speech_is_raised_and_an_offset_taken_out() {
        let quiet: Vec<i16> = tone(1.0, 0.004).iter().map(|value| value + 5_000).collect();
        let window = for_recognizer(&quiet);
        assert!((speech_level(&window) - USUAL).abs() < 0.01);
        let mean = window.iter().sum::<f32>() / window.len() as f32;
        assert!(mean.abs() < 0.001);
        let loud = for_recognizer(&tone(1.0, 0.5));
        assert!((speech_level(&loud) - 0.35).abs() < 0.01);
        assert_eq!(for_recognizer(&[]), Vec::<f32>::new());
        assert_eq!(for_recognizer(&[0; 1000]), vec![0.0; 1000]);
    }

    #[test]
    fn a_cut_falls_where_it_is_quiet() {
        let sound = [tone(2.0, 0.3), tone(0.5, 0.001), tone(2.0, 0.3)].concat();
        let at = quiet_place(&sound);
        assert!((32_000..40_000).contains(&at), "{at}");
        let window = for_recognizer(&sound);
        assert!((32_000..40_000).contains(&quiet_point(&window)));
    }

    #[test]
    fn what_stands_out_is_found_and_silence_is_not() {
        let sound = [tone(1.0, 0.0), tone(2.0, 0.2), tone(1.0, 0.0)].concat();
        let [(start, end)] = loud_stretches(&sound)[..] else { panic!("one stretch") };
        assert!((start - 1.0).abs() < 0.1 && (end - 3.0).abs() < 0.1);
        assert_eq!(loud_stretches(&[0; 48_000]), []);
        assert_eq!(loud_stretches(&[]), []);
    }
}
