//! Making an index, and recognising one.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use redb::{Builder, Database, ReadableDatabase, TableError};

use crate::index::IndexError;
use crate::index::failure::{damaged, opening};
use crate::index::filing::make_tables;
use crate::index::reserved::ReservedFile;
use crate::index::tables::{COUNTERS, FORMAT, JOBS, REMOVALS_DUE, UNFINISHED};
use crate::index::trash_rows::name_all;

/// Memory for pages of the file. The kernel caches them too, so little is won by more.
const CACHE_BYTES: usize = 24 << 20;

/// Makes an empty index under another name first: a power cut must not leave half of one at `path`, which
/// could not be told from a damaged one.
pub(crate) fn create(path: &Path) -> Result<(), IndexError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    // What a cut-off start has left.
    match fs::remove_file(new) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(disk(err)),
        _ => {}
    }
    let database = database(new)?;
    check_format(&database)?;
    database.close().map_err(|err| opening(&new.display().to_string(), err))?;
    // A link never takes the place of what another daemon has made meanwhile.
    match fs::hard_link(new, path) {
        Ok(()) => fs::remove_file(new).map_err(disk)?,
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
        Err(_) => fs::rename(new, path).map_err(disk)?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(disk)?;
    folder.sync_all().map_err(disk)
}

pub(crate) fn database(path: &Path) -> Result<Database, IndexError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(ReservedFile::open(path)?)
        .map_err(|err| opening(&path.display().to_string(), err))
}

/// Reads every page of the file at `path` and compares it with its checksum.
pub(crate) fn check_pages(path: &Path) -> Result<(), IndexError> {
    let name = path.display().to_string();
    let mut database = database(path)?;
    // What can be mended of the pages that are free is mended; every commit is written so that its own must be whole.
    let is_sound = database.check_integrity().map_err(|err| opening(&name, err))?;
    if !is_sound {
        log::warn!("index: its free pages were determined again");
    }
    database.close().map_err(|err| opening(&name, err))
}

/// Makes the tables of a new index, and refuses those of a later time.
pub(crate) fn check_format(database: &Database) -> Result<(), IndexError> {
    match format_of(database)? {
        Some(found) if found == u64::from(FORMAT) => add_tables(database),
        Some(found) => {
            let found = u32::try_from(found).map_err(damaged)?;
            Err(IndexError::TooNew { found, known: FORMAT })
        }
        None => make(database),
    }
}

/// Tables that came later than the format: there was nothing to say in them before.
fn add_tables(database: &Database) -> Result<(), IndexError> {
    match database.begin_read()?.open_table(REMOVALS_DUE) {
        Ok(_) => return Ok(()),
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(err) => return Err(err.into()),
    }
    let mut writing = database.begin_write()?;
    writing.set_quick_repair(true);
    make_tables(&writing)?;
    name_all(&writing)?;
    Ok(writing.commit()?)
}

fn format_of(database: &Database) -> Result<Option<u64>, IndexError> {
    match database.begin_read()?.open_table(COUNTERS) {
        Ok(counters) => Ok(counters.get("format")?.map(|format| format.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

fn make(database: &Database) -> Result<(), IndexError> {
    let mut writing = database.begin_write()?;
    writing.set_quick_repair(true);
    make_tables(&writing)?;
    writing.open_table(JOBS)?;
    writing.open_table(UNFINISHED)?;
    writing.open_table(COUNTERS)?.insert("format", u64::from(FORMAT))?;
    Ok(writing.commit()?)
}

fn disk(err: io::Error) -> IndexError {
    IndexError::Disk(Box::new(err))
}
