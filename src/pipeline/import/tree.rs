//! What an `uploads/` tree of the first system holds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::model::{ConversationId, Day, FileName};

/// Extensions of sound and film that the first system took.
const AUDIO: [&str; 20] = [
    "wav", "mp3", "m4a", "mp4", "aac", "ogg", "oga", "opus", "flac", "webm", "mkv", "mka", "mov",
    "aif", "aiff", "caf", "amr", "3gp", "wma", "m4b",
];

/// A recording of the first system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    pub conversation: ConversationId,
    pub day: Day,
    pub name: FileName,
    pub audio: PathBuf,
    /// The transcript of this recording; `None` also where a day's transcript is about several.
    pub text: Option<PathBuf>,
    pub metadata: Option<PathBuf>,
}

/// All of a tree.
#[derive(Debug, Default)]
pub struct Survey {
    /// By conversation, day and name.
    pub finds: Vec<Find>,
    /// Files that are neither recordings nor belong to one.
    pub passed_over: Vec<PathBuf>,
}

/// Looks through `<conversation>/<yyyy>/<mm>/<dd>/` below `root`.
pub fn survey(root: &Path) -> io::Result<Survey> {
    let mut survey = Survey::default();
    for (conversation_name, conversation) in folders(root)? {
        let id = ConversationId::cleaned(conversation_name.as_bytes());
        for (year, in_year) in folders(&conversation)? {
            for (month, in_month) in folders(&in_year)? {
                for (day, folder) in folders(&in_month)? {
                    if let Some(day) = day_of(&year, &month, &day) {
                        look_at_day(&mut survey, &id, conversation_name.as_bytes(), day, &folder)?;
                    }
                }
            }
        }
    }
    Ok(survey)
}

fn folders(folder: &Path) -> io::Result<BTreeMap<std::ffi::OsString, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.insert(entry.file_name(), entry.path());
        }
    }
    Ok(found)
}

fn day_of(year: &OsStr, month: &OsStr, day: &OsStr) -> Option<Day> {
    let number = |text: &OsStr| text.to_str().filter(|it| it.len() <= 4)?.parse::<i16>().ok();
    let (month, day) = (i8::try_from(number(month)?).ok()?, i8::try_from(number(day)?).ok()?);
    Day::from_ymd(number(year)?, month, day)
}

fn look_at_day(
    survey: &mut Survey,
    id: &ConversationId,
    conversation: &[u8],
    day: Day,
    folder: &Path,
) -> io::Result<()> {
    let mut files: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.insert(entry.file_name().as_bytes().to_owned(), entry.path());
        }
    }
    let names = files.keys().filter_map(|name| FileName::new(name.clone()));
    let audio: Vec<FileName> = names.filter(is_audio).collect();
    let is_alone = audio.len() == 1;
    for name in audio {
        let Some(path) = files.remove(name.as_bytes()) else { continue };
        let mut beside = |stem: &[u8], suffix: &[u8]| files.remove(&[stem, suffix].concat());
        let stem = name.split_extension().0;
        let mut text = beside(stem, b".txt").or_else(|| beside(stem, b"_transcript.txt"));
        let mut metadata = beside(stem, b"_metadata.json");
        if is_alone {
            text = text.or_else(|| beside(conversation, b"_transcript.txt"));
            metadata = metadata
                .or_else(|| beside(conversation, b"_metadata.json"))
                .or_else(|| beside(b"", b"metadata.json"))
                .or_else(|| beside(b"", b"_metadata.json"));
        }
        let conversation = id.clone();
        survey.finds.push(Find {
            conversation,
            day,
            name: name.clone(),
            audio: path,
            text,
            metadata,
        });
    }
    survey.passed_over.extend(files.into_values());
    Ok(())
}

fn is_audio(name: &FileName) -> bool {
    !name.as_bytes().starts_with(b".") && AUDIO.contains(&name.extension().as_str())
}
