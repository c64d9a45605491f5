//! Who speaks when: the pyannote "community-1" pipeline, with a second look at every utterance.
//!
//! ```text
//! windows of 10 s -> segmentation: three local speakers in each      windows, segmentation
//! filterbank -> embedding network, once over the recording           filterbank, embedding
//! sums over the steps of each local speaker and each utterance       pooling
//! AHC and VBx, or k-means on a hint: the speakers                   clustering, ahc, plda, vbx, kmeans
//! each utterance to the nearest speaker                              utterances
//! frames back to turns                                               turns
//! ```
//!
//! H. Bredin et al., pyannote.audio (MIT; weights and constants of community-1 CC BY 4.0); A. Plaquet and
//! H. Bredin, Interspeech 2023; WeSpeaker ResNet34-LM, H. Wang et al., ICASSP 2023; F. Landini et al., VBx, 2022.

mod ahc;
mod clustering;
mod embedding;
mod filterbank;
mod kmeans;
mod matrix;
mod parallel;
mod plda;
mod pooling;
mod segmentation;
#[cfg(test)]
mod tests;
mod turns;
mod utterances;
mod vbx;
mod weights;
mod windows;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use crate::model::{SpeakerBounds, SpeakerId};
use crate::speech::diarize::clustering::{Clustering, Embeddings, cluster};
use crate::speech::diarize::embedding::{Trunk, embed};
use crate::speech::diarize::filterbank::FilterBank;
use crate::speech::diarize::plda::PldaTransform;
use crate::speech::diarize::pooling::{Head, Voice};
use crate::speech::diarize::segmentation::segment;
use crate::speech::diarize::turns::{Support, named, order_of_appearance, runs};
use crate::speech::diarize::utterances::Span;
use crate::speech::diarize::weights::Weights;
use crate::speech::diarize::windows::{LOCAL, Masks, Segmentation};
use crate::speech::onnx::Network;
use crate::speech::{Diarization, Diarizer, SpeechError};

/// Where progress stands when every window has been looked at, and when every embedding has been made: the
/// shares of the time that these take.
const SEGMENTED: f32 = 0.6;
const EMBEDDED: f32 = 0.98;

/// Opens the diarizer in `folder`. Every file is read now; nothing is opened later.
pub(crate) fn open(folder: &Path, threads: u16) -> Result<Box<dyn Diarizer>, SpeechError> {
    let workers = usize::from(threads.max(1));
    let bad = |file: &str, why: String| SpeechError::BadModel {
        folder: folder.display().to_string(),
        why: format!("`{file}`: {why}"),
    };
    let read = |file: &str| fs::read(folder.join(file)).map_err(|err| bad(file, err.to_string()));
    let networks = |file: &str| -> Result<Vec<Network>, SpeechError> {
        let graph = read(file)?;
        let open = |_| Network::open(&graph, 1).map_err(|err| bad(file, err.to_string()));
        (0..workers).map(open).collect()
    };
    let head = "embedding_head.safetensors";
    let plda = "plda.safetensors";
    let trunk = |network| Trunk { network, filters: FilterBank::new() };
    Ok(Box::new(CommunityOne {
        segmentation: networks("segmentation.onnx")?,
        trunks: networks("embedding_trunk_int8.onnx")?.into_iter().map(trunk).collect(),
        head: Weights::parse(read(head)?)
            .and_then(|all| Head::read(&all))
            .map_err(|why| bad(head, why))?,
        plda: Weights::parse(read(plda)?)
            .and_then(|all| PldaTransform::read(&all))
            .map_err(|why| bad(plda, why))?,
    }))
}

/// One network of each kind for each thread: two that run side by side do more than one that is shared out.
struct CommunityOne {
    segmentation: Vec<Network>,
    trunks: Vec<Trunk>,
    head: Head,
    plda: PldaTransform,
}

impl Diarizer for CommunityOne {
    fn diarize(
        &mut self,
        sound: &[i16],
        speakers: SpeakerBounds,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Diarization, SpeechError> {
        let segmentation =
            segment(&mut self.segmentation, sound, |done| progress(done * SEGMENTED))?;
        let count = segmentation.speaker_count();
        if count.iter().all(|count| *count == 0) {
            return Ok(Diarization::default());
        }
        let masks = segmentation.masks();
        let spans = utterances::find(&segmentation, &count);
        let voices = voices(&segmentation, &masks, &spans, &count);
        let between = |done| progress(SEGMENTED + done * (EMBEDDED - SEGMENTED));
        let mut embeddings = embed(&mut self.trunks, &self.head, sound, &voices, between)?;
        let utterances = embeddings.split_off(segmentation.starts.len() * LOCAL);
        let local = by_window(embeddings);
        let clustering = cluster(&segmentation, &masks.clean_frames, &local, speakers, &self.plda);
        let heard = Reconstruction { segmentation, count, spans, utterances, clustering };
        let diarization = heard.reconstruct(speakers, sound.len());
        match progress(1.0) {
            ControlFlow::Continue(()) => Ok(diarization),
            ControlFlow::Break(()) => Err(SpeechError::Stopped),
        }
    }
}

/// Every local speaker of every window, then every utterance.
fn voices<'a>(
    segmentation: &Segmentation,
    masks: &'a Masks,
    spans: &[Span],
    count: &'a [u8],
) -> Vec<Voice<'a>> {
    let windows = segmentation.starts.iter().zip(&masks.bits);
    let local = windows.flat_map(|(start, mask)| {
        (0..LOCAL).map(|k| Voice::Local { start: *start, mask, bit: 1 << k })
    });
    local.chain(spans.iter().map(|span| Voice::of_utterance(*span, count))).collect()
}

fn by_window(embeddings: Vec<Option<Box<[f32]>>>) -> Embeddings {
    let mut windows = Vec::with_capacity(embeddings.len() / LOCAL);
    let mut rest = embeddings.into_iter();
    while rest.len() >= LOCAL {
        windows.push(std::array::from_fn(|_| rest.next().flatten()));
    }
    windows
}

/// All that is known when the networks have run and the speakers are found.
struct Reconstruction {
    segmentation: Segmentation,
    count: Vec<u8>,
    spans: Vec<Span>,
    utterances: Vec<Option<Box<[f32]>>>,
    clustering: Clustering,
}

impl Reconstruction {
    fn reconstruct(mut self, bounds: SpeakerBounds, samples: usize) -> Diarization {
        let speakers = self.clustering.centroids.height();
        let support = Support::count(&self.segmentation, &self.clustering.assignment, speakers);
        let main = self.main_speakers(&support);
        let most =
            bounds.at_most.map_or(u8::MAX, |most| u8::try_from(most.max(1)).unwrap_or(u8::MAX));
        self.count.iter_mut().for_each(|count| *count = (*count).min(most));
        let voices = usize::from(self.count.iter().copied().max().unwrap_or(0));
        let all = runs(&support, &self.count, &main, speakers.max(voices), samples);
        self.count.iter_mut().for_each(|count| *count = (*count).min(1));
        let exclusive = runs(&support, &self.count, &main, speakers, samples);
        let ids = order_of_appearance(&all, &exclusive, speakers);
        let units = self.clustering.centroids.to_unit_rows();
        let voice = |(column, id): (&usize, &SpeakerId)| {
            (*id, units.row(*column).iter().map(|value| *value as f32).collect())
        };
        let mut voices: Vec<(SpeakerId, Vec<f32>)> = ids.iter().map(voice).collect();
        voices.sort_by_key(|(id, _)| *id);
        Diarization { turns: named(all, &ids), exclusive: named(exclusive, &ids), voices }
    }

    /// The speaker of the utterance that a frame is in.
    fn main_speakers(&self, support: &Support) -> Vec<Option<usize>> {
        let centroids = &self.clustering.centroids;
        let speakers = utterances::name(&self.spans, &self.utterances, centroids, support);
        let mut main = vec![None; self.count.len()];
        for (span, speaker) in self.spans.iter().zip(speakers) {
            main[span.first..span.end].fill(Some(speaker));
        }
        main
    }
}
