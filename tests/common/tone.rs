//! Sound that tests make.

/// A WAV file of 16-bit sound: a tone that comes and goes.
pub(crate) fn wave(seconds: u32, rate: u32) -> Vec<u8> {
    let samples = (0..seconds * rate).map(|n| {
        let on = (n / rate).is_multiple_of(2);
        if on { ((f64::from(n) * 0.1).sin() * 8_000.0) as i16 } else { 0 }
    });
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let mut file = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(rate.to_le_bytes());
    file.extend((rate * 2).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    file.extend(data);
    file
}
