//! Each stage on the golden input of that stage, and the whole on its turns.
//!
//! One golden recording is the project's own (`tests/golden`); others, and the sound of all, are looked for in the
//! collection of recordings (`SCRIBEFS_SHARED`) and skipped by name without it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::ahc::{centroid_linkage, numbered_by_appearance};
use super::clustering::{Embeddings, chosen, fb};
use super::filterbank::{BINS, FilterBank};
use super::matrix::{Matrix, dot, make_unit};
use super::plda::{EMBEDDING, PldaTransform};
use super::turns::Support;
use super::utterances::{self, Span};
use super::vbx::vbx;
use super::weights::Weights;
use super::windows::{FRAMES, LOCAL, Segmentation, starts};
use crate::audio::{self, Scratch};
use crate::model::{SpeakerBounds, Turn};
use crate::speech::open_diarizer;

/// A golden recording.
struct Golden {
    name: String,
    facts: Value,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

fn shared() -> PathBuf {
    let given = std::env::vars_os().find(|(name, _)| name == "SCRIBEFS_SHARED");
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    given.map_or_else(beside, |(_, path)| PathBuf::from(path))
}

/// Ours, and those of the collection where it is.
fn goldens() -> Vec<Golden> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let more = shared().join("diarization/golden");
    let mut goldens = vec![Golden::read(&own.join("katie_steve"))];
    for name in ["ami_trn03", "meet2_short"] {
        match more.join(name).with_extension("json").is_file() {
            true => goldens.push(Golden::read(&more.join(name))),
            false => eprintln!("skipped: golden data of {name}: the collection is not here"),
        }
    }
    goldens
}

impl Golden {
    fn read(path: &Path) -> Self {
        let facts = std::fs::read(path.with_extension("json")).unwrap();
        let file = std::fs::read(path.with_extension("safetensors")).unwrap();
        let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
        let header: BTreeMap<String, Value> = serde_json::from_slice(&file[8..8 + length]).unwrap();
        let numbers = &file[8 + length..];
        let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
        let tensors = tensors.map(|(name, entry)| {
            let sizes =
                |key: &str| -> Vec<usize> { serde_json::from_value(entry[key].clone()).unwrap() };
            let place = sizes("data_offsets");
            let values = values(entry["dtype"].as_str().unwrap(), &numbers[place[0]..place[1]]);
            (name, (sizes("shape"), values))
        });
        Self {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            facts: serde_json::from_slice(&facts).unwrap(),
            tensors: tensors.collect(),
        }
    }

    fn values(&self, name: &str) -> &[f64] {
        &self.tensors[name].1
    }

    fn indices(&self, name: &str) -> Vec<usize> {
        self.values(name).iter().map(|value| *value as usize).collect()
    }

    fn matrix(&self, name: &str) -> Matrix {
        let (shape, values) = &self.tensors[name];
        Matrix::new(*shape.last().unwrap(), values.clone())
    }

    fn samples(&self) -> usize {
        usize::try_from(self.facts["samples"].as_u64().unwrap()).unwrap()
    }

    fn segmentation(&self) -> Segmentation {
        let windows = self.values("segmentation").chunks_exact(FRAMES * LOCAL);
        let bits = |window: &[f64]| {
            std::array::from_fn(|frame| {
                let is_on = |k: &usize| window[frame * LOCAL + k] != 0.0;
                (0..LOCAL).filter(is_on).fold(0, |bits, k| bits | 1 << k)
            })
        };
        Segmentation { starts: self.indices("starts"), active: windows.map(bits).collect() }
    }

    fn embeddings(&self) -> Embeddings {
        let rows: Vec<Option<Box<[f32]>>> =
            self.values("embeddings").chunks_exact(EMBEDDING).map(embedding).collect();
        rows.chunks_exact(LOCAL).map(|three| std::array::from_fn(|k| three[k].clone())).collect()
    }

    fn assignment(&self) -> Vec<[Option<usize>; LOCAL]> {
        let cluster = |value: f64| (0.0 <= value).then_some(value as usize);
        let windows = self.values("assignment").chunks_exact(LOCAL);
        windows.map(|window| std::array::from_fn(|k| cluster(window[k]))).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let pairs = self.indices("utterances");
        pairs.chunks_exact(2).map(|pair| Span { first: pair[0], end: pair[1] }).collect()
    }

    fn turns(&self, key: &str) -> Vec<(f64, f64, u64)> {
        let turns = self.facts[key].as_array().unwrap().iter();
        let number = |turn: &Value, at: usize| turn[at].as_f64().unwrap();
        turns.map(|turn| (number(turn, 0), number(turn, 1), turn[2].as_u64().unwrap())).collect()
    }
}

fn values(kind: &str, bytes: &[u8]) -> Vec<f64> {
    match kind {
        "U8" => bytes.iter().map(|byte| f64::from(*byte)).collect(),
        "F32" => bytes.as_chunks().0.iter().map(|it| f32::from_le_bytes(*it).into()).collect(),
        "F64" => bytes.as_chunks().0.iter().map(|it| f64::from_le_bytes(*it)).collect(),
        "I64" => bytes.as_chunks().0.iter().map(|it| i64::from_le_bytes(*it) as f64).collect(),
        other => panic!("numbers of kind {other}"),
    }
}

/// All zeros stand for no embedding.
fn embedding(row: &[f64]) -> Option<Box<[f32]>> {
    let is_heard = row.iter().any(|value| *value != 0.0);
    is_heard.then(|| row.iter().map(|value| *value as f32).collect())
}

fn installed(test: &str) -> Option<PathBuf> {
    let variables: BTreeMap<_, _> = std::env::vars_os().collect();
    let models = variables.get(std::ffi::OsStr::new("SCRIBEFS_MODELS")).map(PathBuf::from);
    let home = variables.get(std::ffi::OsStr::new("HOME")).map(PathBuf::from).unwrap_or_default();
    let models = models.unwrap_or_else(|| home.join(".local/share/scribefs/models"));
    let folder = models.join("pyannote-community-1");
    if !folder.is_dir() {
        eprintln!("skipped: {test}: pyannote-community-1 is not in {}", models.display());
        return None;
    }
    Some(folder)
}

/// The sound of a golden recording, where the collection is.
fn sound(golden: &Golden) -> Option<Vec<i16>> {
    let speech = shared().join("speech");
    let paths = ["conversations", "meetings"]
        .map(|folder| speech.join(folder).join(&golden.name).with_extension("flac"));
    let Some(path) = paths.iter().find(|path| path.is_file()) else {
        eprintln!("skipped: sound of {}: the collection is not here", golden.name);
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let scratch = Scratch::below(dir.path()).unwrap();
    let (file, day) = (std::fs::File::open(path).unwrap(), Duration::from_hours(24));
    let decoded = audio::decode(file, "flac", &scratch, day, &mut |_| {}).unwrap();
    let audio::Sound::Mixed(pcm) = decoded.sound else { panic!("one signal was wanted") };
    assert_eq!(pcm.len(), golden.samples(), "{}", golden.name);
    let sound = pcm.to_vec();
    Some(sound)
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    make_unit(&mut a);
    make_unit(&mut b);
    dot(&a, &b)
}

fn is_local(found: f64, wanted: f64, share: f64) -> bool {
    (found - wanted).abs() <= share * wanted.abs().max(1.0)
}

#[test]
fn windows_and_counts_are_as_golden() {
    for golden in goldens() {
        let segmentation = golden.segmentation();
        assert_eq!(starts(golden.samples()), golden.indices("starts"));
        let count: Vec<usize> = segmentation.speaker_count().into_iter().map(usize::from).collect();
        assert_eq!(count, golden.indices("count"), "{}", golden.name);
    }
}

#[test]
fn masks_and_what_is_clustered_are_as_golden() {
    for golden in goldens() {
        let masks = golden.segmentation().masks();
        let clean = masks.clean_frames.as_flattened();
        assert_eq!(clean, golden.indices("clean_frames"), "{}", golden.name);
        let bits = masks.bits.as_flattened().iter();
        let cells: Vec<usize> =
            bits.flat_map(|bits| (0..LOCAL).map(move |k| usize::from(bits >> k & 1))).collect();
        assert_eq!(cells, golden.indices("masks"), "{}", golden.name);
        let pairs: Vec<usize> =
            chosen(&masks.clean_frames).into_iter().flat_map(|(w, k)| [w, k]).collect();
        assert_eq!(pairs, golden.indices("chosen"), "{}", golden.name);
    }
}

#[test]
fn the_speaker_space_and_the_linkage_are_as_golden() {
    let Some(folder) = installed("the_speaker_space_and_the_linkage_are_as_golden") else { return };
    let weights = Weights::parse(std::fs::read(folder.join("plda.safetensors")).unwrap()).unwrap();
    let plda = PldaTransform::read(&weights).unwrap();
    for golden in goldens() {
        let embeddings = golden.embeddings();
        let pairs = golden.indices("chosen");
        let rows =
            pairs.chunks_exact(2).map(|pair| embeddings[pair[0]][pair[1]].as_deref().unwrap());
        let training = Matrix::from_rows(EMBEDDING, rows);
        let features = plda.transform(&training);
        let wanted = golden.matrix("plda");
        for (i, row) in wanted.rows().enumerate() {
            let found = features.row(i).iter().zip(row);
            assert!(found.clone().all(|(a, b)| is_local(*a, *b, 1e-5)), "{}: {i}", golden.name);
        }
        let labels = centroid_linkage(&training.to_unit_rows(), 0.6);
        let wanted = numbered_by_appearance(golden.indices("ahc"));
        assert_eq!(labels, wanted, "{}", golden.name);
        let price = fb(training.height());
        assert!(is_local(price, golden.values("fb")[0], 1e-9), "{}: {price}", golden.name);
        let posterior = vbx(&features, &plda.phi, &golden_labels(&golden), price);
        let bounds = posterior.elbo.iter().zip(golden.values("elbo"));
        assert!(bounds.clone().all(|(a, b)| is_local(*a, *b, 1e-5)), "{}", golden.name);
        let mut priors = posterior.priors.clone();
        let mut expected = golden.values("prior").to_vec();
        priors.sort_by(f64::total_cmp);
        expected.sort_by(f64::total_cmp);
        assert!(
            priors.iter().zip(&expected).all(|(a, b)| is_local(*a, *b, 1e-5)),
            "{}",
            golden.name
        );
    }
}

/// Golden labels as rows of a table: from 0 on, without gaps.
fn golden_labels(golden: &Golden) -> Vec<usize> {
    numbered_by_appearance(golden.indices("ahc"))
}

#[test]
fn support_and_utterances_are_as_golden() {
    for golden in goldens() {
        let segmentation = golden.segmentation();
        let centroids = golden.matrix("centroids");
        let support = Support::count(&segmentation, &golden.assignment(), centroids.height());
        let votes: Vec<usize> = (0..segmentation.frames())
            .flat_map(|frame| support.frame(frame).iter().map(|votes| usize::from(*votes)))
            .collect();
        assert_eq!(votes, golden.indices("support"), "{}", golden.name);
        let spans = utterances::find(&segmentation, &segmentation.speaker_count());
        assert_eq!(spans, golden.spans(), "{}", golden.name);
        let embeddings: Vec<_> =
            golden.values("utterance_embeddings").chunks_exact(EMBEDDING).map(embedding).collect();
        let named = utterances::name(&spans, &embeddings, &centroids, &support);
        assert_eq!(named, golden.indices("utterance_speakers"), "{}", golden.name);
    }
}

#[test]
fn the_filterbank_is_as_golden() {
    for golden in goldens() {
        let Some(sound) = sound(&golden) else { continue };
        let mut frames = Vec::new();
        FilterBank::new().append(&sound, 0, 100, &mut frames);
        assert_eq!(frames.len(), 100 * BINS);
        let wrong = frames.iter().zip(golden.values("fbank"));
        let wrong = wrong.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(wrong < 2e-3, "{}: {wrong}", golden.name);
    }
}

#[test]
fn the_whole_finds_the_golden_turns() {
    let Some(folder) = installed("the_whole_finds_the_golden_turns") else { return };
    for golden in goldens() {
        let Some(sound) = sound(&golden) else { continue };
        let mut diarizer = open_diarizer(&folder, 2).unwrap();
        let found = diarizer
            .diarize(&sound, SpeakerBounds::default(), &mut |_| ControlFlow::Continue(()))
            .unwrap();
        let seconds = sound.len() as f64 / 16_000.0;
        for (turns, key) in [(&found.turns, "turns"), (&found.exclusive, "exclusive")] {
            let same = agreement(turns, &golden.turns(key), seconds);
            assert!(0.99 <= same, "{}: {key} agree {same}", golden.name);
        }
        let centroids = golden.matrix("centroids");
        for (id, voice) in &found.voices {
            let voice: Vec<f64> = voice.iter().map(|value| f64::from(*value)).collect();
            let best = centroids.rows().map(|row| cosine(&voice, row)).fold(0.0, f64::max);
            assert!(0.98 <= best, "{}: {id} is like nobody: {best}", golden.name);
        }
    }
}

/// Share of the time in which the same speakers are on.
fn agreement(found: &[Turn], wanted: &[(f64, f64, u64)], seconds: f64) -> f64 {
    let steps = (seconds * 100.0) as usize;
    let same = (0..steps).filter(|step| {
        let at = (*step as f64 + 0.5) / 100.0;
        let is_on = |start: f64, end: f64| start <= at && at < end;
        let mut ours: Vec<u64> = found
            .iter()
            .filter(|turn| is_on(turn.start, turn.end))
            .map(|turn| turn.speaker.map_or(99, |id| u64::from(id.0)))
            .collect();
        let on = wanted.iter().filter(|(start, end, _)| is_on(*start, *end));
        let mut theirs: Vec<u64> = on.map(|(_, _, speaker)| *speaker).collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        ours == theirs
    });
    same.count() as f64 / steps.max(1) as f64
}
