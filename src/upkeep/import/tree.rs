//! What an `uploads/` tree of the first system holds.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::model::{ConversationId, Day, FileName};
use crate::upkeep::import::not_taken::{NotTaken, Reason};

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
    /// Every other file, by its path below the root.
    pub not_taken: NotTaken,
}

/// Looks through everything below `root`: recordings lie in `<conversation>/<yyyy>/<mm>/<dd>/`.
///
/// # Errors
/// `root` itself cannot be read. A folder below it that cannot is named among what was not taken.
pub fn survey(root: &Path) -> io::Result<Survey> {
    let mut survey = Survey::default();
    look(&mut survey, root, entries(root)?, &mut Vec::new());
    Ok(survey)
}

/// In order of name.
fn entries(folder: &Path) -> io::Result<BTreeMap<OsString, FileType>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found.insert(entry.file_name(), entry.file_type()?);
    }
    Ok(found)
}

/// `names` lead from the root to this folder, which has these entries.
fn look(
    survey: &mut Survey,
    root: &Path,
    entries_here: BTreeMap<OsString, FileType>,
    names: &mut Vec<OsString>,
) {
    let day = match names.as_slice() {
        [_, year, month, day] => day_of(year, month, day),
        _ => None,
    };
    let mut files = Vec::new();
    for (name, kind) in entries_here {
        names.push(name);
        let path: PathBuf = names.iter().collect();
        if kind.is_dir() {
            match entries(&root.join(&path)) {
                Ok(below) => look(survey, root, below, names),
                Err(err) => survey.not_taken.note(path, unreadable(&err)),
            }
        } else if !kind.is_file() {
            survey.not_taken.note(path, Reason::NotRegular);
        } else if day.is_some() {
            files.push(path);
        } else {
            survey.not_taken.note(path, Reason::Elsewhere);
        }
        names.pop();
    }
    if let Some(day) = day {
        look_at_day(survey, root, names[0].as_bytes(), day, files);
    }
}

fn unreadable(err: &io::Error) -> Reason {
    Reason::Unreadable(format!("cannot be read: {err}"))
}

fn day_of(year: &OsStr, month: &OsStr, day: &OsStr) -> Option<Day> {
    let number = |text: &OsStr| text.to_str().filter(|it| it.len() <= 4)?.parse::<i16>().ok();
    let (month, day) = (i8::try_from(number(month)?).ok()?, i8::try_from(number(day)?).ok()?);
    Day::from_ymd(number(year)?, month, day)
}

/// `found`: the files of the day's folder, by their paths below the root.
fn look_at_day(
    survey: &mut Survey,
    root: &Path,
    conversation: &[u8],
    day: Day,
    found: Vec<PathBuf>,
) {
    let name_of = |path: &PathBuf| path.file_name().unwrap_or_default().as_bytes().to_owned();
    let mut files: BTreeMap<Vec<u8>, PathBuf> =
        found.into_iter().map(|path| (name_of(&path), path)).collect();
    let names = files.keys().filter_map(|name| FileName::new(name.clone()));
    let audio: Vec<FileName> = names.filter(is_audio).collect();
    let is_alone = audio.len() == 1;
    for name in audio {
        let Some(path) = files.remove(name.as_bytes()) else { continue };
        if fs::metadata(root.join(&path)).is_ok_and(|stat| stat.len() == 0) {
            survey.not_taken.note(path, Reason::Empty);
            continue;
        }
        let mut beside = |stem: &[u8], suffix: &[u8]| {
            files.remove(&[stem, suffix].concat()).map(|path| root.join(path))
        };
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
        survey.finds.push(Find {
            conversation: ConversationId::cleaned(conversation),
            day,
            name,
            audio: root.join(path),
            text,
            metadata,
        });
    }
    for path in files.into_values() {
        survey.not_taken.note(path, Reason::NoRecording);
    }
}

fn is_audio(name: &FileName) -> bool {
    !name.as_bytes().starts_with(b".") && AUDIO.contains(&name.extension().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_not_taken_is_counted_and_the_first_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let day = dir.path().join("standup/2024/01/15");
        fs::create_dir_all(day.join("deeper")).unwrap();
        for (path, text) in [
            ("top.wav", "sound"),
            ("standup/loose.wav", "sound"),
            ("standup/2024/13/01/no-such-month.wav", "sound"),
            ("standup/2024/01/15/monday.wav", "sound"),
            ("standup/2024/01/15/monday.txt", "words"),
            ("standup/2024/01/15/agenda.pdf", "agenda"),
            ("standup/2024/01/15/nothing.wav", ""),
            ("standup/2024/01/15/deeper/below.wav", "sound"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink("monday.wav", day.join("link.wav")).unwrap();
        let survey = survey(dir.path()).unwrap();
        let [monday] = &survey.finds[..] else { panic!("{survey:?}") };
        assert_eq!(monday.audio, day.join("monday.wav"));
        let mut named: Vec<(&str, &Reason)> =
            survey.not_taken.named.iter().map(|it| (it.0.to_str().unwrap(), &it.1)).collect();
        named.sort_by_key(|it| it.0);
        assert_eq!(
            named,
            [
                ("standup/2024/01/15/agenda.pdf", &Reason::NoRecording),
                ("standup/2024/01/15/deeper/below.wav", &Reason::Elsewhere),
                ("standup/2024/01/15/link.wav", &Reason::NotRegular),
                ("standup/2024/01/15/nothing.wav", &Reason::Empty),
                ("standup/2024/13/01/no-such-month.wav", &Reason::Elsewhere),
                ("standup/loose.wav", &Reason::Elsewhere),
                ("top.wav", &Reason::Elsewhere),
            ]
        );
        for number in 0..100 {
            fs::write(dir.path().join(format!("{number}.wav")), "sound").unwrap();
        }
        let many = super::survey(dir.path()).unwrap().not_taken;
        assert_eq!((many.count, many.named.len()), (107, 20));
    }
}
