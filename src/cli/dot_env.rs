//! `.env`: settings and keys beside the work, as the first system kept them. Read only where nobody but the user
//! can have written them: they decide where every recording goes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cli::print::{self, CliError};
use crate::config::{ConfigError, Layer, Origin};
use crate::daemon::{Environment, is_private_to_write};
use crate::effective_user::effective_user;
use crate::regular_file::{self, SETTINGS_BYTES};

/// What `named` says, or else the `.env` of the working directory where that can be trusted. Says on standard
/// error which file was read, and which one was not and why.
pub(crate) fn layer(environment: &Environment, named: Option<&Path>) -> Result<Layer, CliError> {
    let Some(path) = chosen(environment.working_directory(), named)? else {
        return Ok(Layer::default());
    };
    let text = regular_file::read(&path, SETTINGS_BYTES).map_err(|source| CliError::File {
        path: path.clone(),
        source,
        remedy: "Move it away, or name another with `--env-file`.".to_owned(),
    })?;
    print::remark(&format!("scribefs: settings from {}", path.display()));
    let variables = variables(&text).map_err(|line| ConfigError::Syntax {
        origin: Origin::DotEnv(path.clone()),
        line,
        why: "this is not NAME=VALUE; put quotes around a value that contains spaces or quotes",
    })?;
    Ok(Layer::from_variables(&variables, Origin::DotEnv(path))?)
}

fn chosen(folder: &Path, named: Option<&Path>) -> Result<Option<PathBuf>, CliError> {
    if let Some(named) = named {
        return Ok(Some(folder.join(named)));
    }
    let path = folder.join(".env");
    match reason_to_ignore(folder, &path) {
        Ok(None) => Ok(Some(path)),
        Ok(Some(why)) => {
            print::remark(&format!("scribefs: {} is ignored: {why}", path.display()));
            Ok(None)
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CliError::File {
            path,
            source,
            remedy: "Make it readable, move it away, or name another with `--env-file`.".to_owned(),
        }),
    }
}

/// Why it holds no settings, or why a stranger may have had a hand in it; `None` where it can be trusted.
fn reason_to_ignore(folder: &Path, path: &Path) -> io::Result<Option<String>> {
    let user = effective_user();
    // Whoever can put another file in its place counts too: the folder of the name, and that of what a link leads to.
    let target = path.canonicalize()?;
    // The folder of a Python environment is often called so too.
    if !fs::metadata(&target)?.is_file() {
        return Ok(Some("it is not a regular file".to_owned()));
    }
    for place in [&target, folder, target.parent().unwrap_or(folder)] {
        if !is_private_to_write(&fs::metadata(place)?, user) {
            let what = place.display();
            return Ok(Some(format!(
                "{what} belongs to somebody else, or others can write to it; `--env-file {}` uses it anyway",
                path.display()
            )));
        }
    }
    Ok(None)
}

/// The variables, or the number of the line where the first wrong one begins. The parser's own error would repeat
/// the line.
fn variables(text: &[u8]) -> Result<BTreeMap<String, String>, usize> {
    let lines_read = Cell::new(0);
    let mut variables = BTreeMap::new();
    let mut good_lines = 0;
    for item in dotenvy::from_read_iter(LineByLine { rest: text, lines_read: &lines_read }) {
        let Ok((name, value)) = item else { return Err(line_with_text_after(text, good_lines)) };
        variables.insert(name, value);
        good_lines = lines_read.get();
    }
    Ok(variables)
}

/// The number of the first line after `lines` that is neither empty nor a comment.
fn line_with_text_after(text: &[u8], lines: usize) -> usize {
    let rest = text.split(|byte| *byte == b'\n').skip(lines);
    let is_passed_over = |line: &&[u8]| {
        let line = line.trim_ascii_start();
        line.is_empty() || line.starts_with(b"#")
    };
    lines + rest.take_while(is_passed_over).count() + 1
}

/// Gives a buffered reader one line at a time, so that it is known how far it has read.
struct LineByLine<'a> {
    rest: &'a [u8],
    lines_read: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line_end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = &self.rest[..line_end.map_or(self.rest.len(), |at| at + 1)];
        let count = line.len().min(buffer.len());
        buffer[..count].copy_from_slice(&line[..count]);
        self.rest = &self.rest[count..];
        if count == line.len() {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_line_that_is_wrong_is_named_by_its_number_only() {
        for (text, line) in [
            ("AWS_SECRET_ACCESS_KEY=sEcReT foo", 1),
            ("A=1\n\n# keys\nAWS_SECRET_ACCESS_KEY sEcReT\nB=2", 4),
            ("A=1\nB='two\nlines'\nC=\"sEcReT\nD=4\n", 4),
            ("A=1\n=2\n", 2),
        ] {
            assert_eq!(variables(text.as_bytes()), Err(line), "{text:?}");
        }
        let long = format!("A={}\nB=2 # comment\nC='x y'", "a".repeat(100_000));
        assert_eq!(variables(long.as_bytes()).unwrap().len(), 3);
    }

    #[test]
    fn a_file_that_others_may_write_is_ignored_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("work"), dir.path().join("work/.env"));
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "A=1").unwrap();
        let reason = |folder_mode: u32, file_mode: u32| {
            fs::set_permissions(&folder, Permissions::from_mode(folder_mode)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(file_mode)).unwrap();
            reason_to_ignore(&folder, &file).unwrap()
        };
        assert_eq!(reason(0o755, 0o644), None);
        assert!(reason_to_ignore(&folder, &folder).unwrap().unwrap().contains("regular file"));
        assert!(reason(0o755, 0o666).unwrap().contains(".env"));
        assert!(reason(0o775, 0o600).is_some());
        assert!(reason(0o1777, 0o600).is_some());
        // A link of ours into a folder that others may write to.
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("env"), "A=1").unwrap();
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(elsewhere.join("env"), &file).unwrap();
        assert!(reason_to_ignore(&folder, &file).unwrap().is_some());
    }
}
