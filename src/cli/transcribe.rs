//! `transcribe`: files, here and now, without any mount.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::ProgressBar;
use jiff::Timestamp;

use crate::cli::arguments::{Format, Transcribe};
use crate::cli::print::{self, CliError};
use crate::cli::progress;
use crate::cli::settings;
use crate::daemon::Environment;
use crate::fs::MountOptions;
use crate::jobs::FileTranscriber;
use crate::model::{
    Conversation, ConversationId, ConversationSeq, Day, FileName, Key, Object, Overlay, Placement,
    Recipe, RecordedAt, Recording, RecordingId, SoundFacts, Talk, TimeSource, WorkEvent, WorkStage,
};
use crate::render::{self, Chapter};

pub(crate) fn transcribe(
    args: &Transcribe,
    environment: &Environment,
) -> Result<ExitCode, CliError> {
    let config = args.settings.config(environment)?;
    let plan = settings::plan(config, MountOptions::new("/"), environment);
    let mut setup = plan.setup();
    // The state folder belongs to a daemon; this is nobody's state.
    let scratch = tempfile::tempdir().map_err(|source| CliError::File {
        path: std::env::temp_dir(),
        source,
        remedy: "Decoded sound is stored there temporarily: set TMPDIR to another folder."
            .to_owned(),
    })?;
    setup.scratch = scratch.path().to_owned();
    // That folder is nobody's inbox either.
    setup.keep_free_bytes = 0;
    let mut transcriber = FileTranscriber::new(setup);
    for file in &args.files {
        let page = one(file, &mut transcriber, &args.format, args.quiet)?;
        print::print(page)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn one(
    file: &Path,
    transcriber: &mut FileTranscriber,
    format: &Format,
    quiet: bool,
) -> Result<Vec<u8>, CliError> {
    let bar = if quiet { ProgressBar::hidden() } else { progress_bar() };
    let heard = transcriber.transcribe(file, &mut |event| {
        if let WorkEvent::Progress { stage, done } = event {
            show(&bar, *stage, *done);
        }
    });
    bar.finish_and_clear();
    let (facts, recipe, talk) = heard
        .map_err(|failure| CliError::Recording { path: file.display().to_string(), failure })?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if format.rttm {
        return Ok(render::rttm(&name, &talk).into_bytes());
    }
    if !(format.json || format.srt || format.vtt) {
        return Ok(render::plain_transcript(&name, &recipe, &talk).into_bytes());
    }
    let loose = Loose::new(file, facts, &recipe, &talk).map_err(|source| CliError::File {
        path: file.to_owned(),
        source,
        remedy: "It was there a moment ago: try again.".to_owned(),
    })?;
    let chapter = loose.chapter(&recipe, &talk);
    Ok(match (format.json, format.srt) {
        (true, _) => [render::json(chapter), b"\n".to_vec()].concat(),
        (_, true) => render::srt(chapter),
        _ => render::vtt(chapter),
    })
}

fn progress_bar() -> ProgressBar {
    progress::bar(100, "{bar:24} {pos:>3} % {msg}")
}

fn show(bar: &ProgressBar, stage: WorkStage, done: f32) {
    let (word, from, to) = match stage {
        WorkStage::Decoding => ("decoding", 0.0, 5.0),
        WorkStage::Diarizing => ("finding speakers", 5.0, 45.0),
        WorkStage::Transcribing => ("transcribing", 45.0, 100.0),
    };
    bar.set_message(word);
    // At most a hundred.
    bar.set_position((from + (to - from) * done.clamp(0.0, 1.0)) as u64);
}

/// A recording that belongs to no conversation, dressed as one for the pages.
struct Loose {
    conversation: Conversation,
    recording: Recording,
}

impl Loose {
    fn new(file: &Path, facts: SoundFacts, recipe: &Recipe, talk: &Talk) -> std::io::Result<Self> {
        let stat = fs::metadata(file)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(file)?)?;
        let modified_at = Timestamp::try_from(stat.modified()?).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = modified_at.to_zoned(jiff::tz::TimeZone::system()).datetime();
        let day = Day::new(time.date()).unwrap_or(Day::UNKNOWN);
        let name = file.file_name().map(PathBuf::from).unwrap_or_default();
        let name = FileName::new(name.into_os_string().into_encoded_bytes())
            .unwrap_or_else(FileName::unnamed);
        let (stem, extension) = name.stem_and_extension(&facts.container);
        let id = ConversationId::cleaned(b"transcribe");
        let recording = Recording {
            id: RecordingId { conversation: ConversationSeq(0), day, number: 1 },
            audio: Object {
                key: Key::audio(&id, day, stem.as_bytes(), &extension),
                bytes: stat.len(),
                blake3: hasher.finalize().to_hex().to_string(),
            },
            stem,
            audio_name: name.clone(),
            original_name: name,
            filed_as: id.clone(),
            pages: Vec::new(),
            modified_at,
            published_at: Timestamp::now(),
            recorded_at: RecordedAt {
                time,
                zone: "local".to_owned(),
                source: TimeSource::ModificationTime,
                detail: "mtime".to_owned(),
            },
            facts,
            language: talk.language.clone(),
            speakers: u32::try_from(talk.speakers.len()).unwrap_or(u32::MAX),
            model: recipe.recognizer.name.clone(),
            placement: Placement::Local,
            revision: 1,
            overlay: Overlay { names: BTreeMap::new(), ..Overlay::default() },
        };
        let conversation = Conversation {
            seq: ConversationSeq(0),
            filed_as: id.clone(),
            id,
            created_at: recording.published_at,
            trashed_at: None,
        };
        Ok(Self { conversation, recording })
    }

    fn chapter<'a>(&'a self, recipe: &'a Recipe, talk: &'a Talk) -> Chapter<'a> {
        Chapter { conversation: &self.conversation, recording: &self.recording, recipe, talk }
    }
}
