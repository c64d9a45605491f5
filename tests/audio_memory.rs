//! What decoding takes of memory. A process of its own: the figure is that of all its threads.

#[path = "common/tone.rs"]
mod tone;

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use scribefs::audio::{self, Scratch};
use tone::wave;

fn memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_hour_takes_no_more_memory_than_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hour.wav");
    let minute = wave(60, 22_050);
    let mut file = File::create(&path).unwrap();
    file.write_all(&minute).unwrap();
    for _ in 1..60 {
        file.write_all(&minute[44..]).unwrap();
    }
    file.seek(SeekFrom::Start(40)).unwrap();
    file.write_all(&u32::MAX.to_le_bytes()).unwrap();
    let mut most = 0;
    let before = memory_kib();
    let mut told = 0;
    let decoded = {
        let scratch = Scratch::below(dir.path()).unwrap();
        let day = Duration::from_hours(24);
        audio::decode(File::open(&path).unwrap(), "wav", &scratch, day, &mut |_| {
            told += 1;
            if told % 100 == 0 {
                most = most.max(memory_kib());
            }
        })
        .unwrap()
    };
    assert!((decoded.facts.duration - 3600.0).abs() < 0.01);
    assert!(most < before + 30_000, "{before} KiB, then {most} KiB");
}
