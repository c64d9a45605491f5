//! Single files over HTTP: resumed, compared, and never a web page in their place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use ureq::Agent;

use crate::models::ModelsError;

/// Times that a connection may break before we give up.
const MOST_TRIES: u32 = 5;

/// A server that says nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where to get a file, and how to know that it is the right one.
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a str,
    pub(crate) bytes: u64,
    pub(crate) sha256: Option<&'a str>,
}

/// Gets the file to `to`, going on where an earlier try has stopped. Proxies are those of the environment.
/// `told` hears of every piece, with the bytes so far.
pub(crate) fn fetch(
    wanted: &Wanted<'_>,
    to: &Path,
    told: &mut dyn FnMut(u64),
) -> Result<(), ModelsError> {
    let agent: Agent = Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .build()
        .into();
    let mut tries = 0;
    loop {
        match go_on(&agent, wanted, to, told) {
            Ok(()) => break,
            Err(Trouble::Broken(_)) if tries + 1 < MOST_TRIES => tries += 1,
            Err(Trouble::Broken(why) | Trouble::Refused(why)) => {
                return Err(ModelsError::Download { what: wanted.url.to_owned(), why });
            }
            Err(Trouble::Disk(source)) => {
                return Err(ModelsError::Disk { path: to.to_owned(), source });
            }
        }
    }
    compare(wanted, to)
}

enum Trouble {
    /// Trying again may help.
    Broken(String),
    Refused(String),
    Disk(io::Error),
}

fn go_on(
    agent: &Agent,
    wanted: &Wanted<'_>,
    to: &Path,
    told: &mut dyn FnMut(u64),
) -> Result<(), Trouble> {
    let mut file = OpenOptions::new().create(true).append(true).open(to).map_err(Trouble::Disk)?;
    let mut have = file.seek(SeekFrom::End(0)).map_err(Trouble::Disk)?;
    if wanted.bytes <= have {
        return Ok(());
    }
    let mut request = agent.get(wanted.url);
    if have != 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|err| match err {
        ureq::Error::StatusCode(416) => Trouble::Broken("its length has changed".to_owned()),
        ureq::Error::StatusCode(code @ 400..=499) => Trouble::Refused(format!("status {code}")),
        err => Trouble::Broken(err.to_string()),
    })?;
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("text/html")) {
        let why = "got a web page instead of the file; a proxy may want a login";
        return Err(Trouble::Refused(why.to_owned()));
    }
    if response.status() != 206 && have != 0 {
        // The server begins anew whatever it is asked for.
        file.set_len(0).map_err(Trouble::Disk)?;
        have = 0;
    }
    let mut body = response.body_mut().as_reader();
    let mut piece = vec![0; 1 << 18];
    loop {
        let count = body.read(&mut piece).map_err(|err| Trouble::Broken(err.to_string()))?;
        if count == 0 {
            break;
        }
        file.write_all(&piece[..count]).map_err(Trouble::Disk)?;
        have += count as u64;
        told(have);
    }
    file.sync_all().map_err(Trouble::Disk)?;
    if have < wanted.bytes {
        return Err(Trouble::Broken(format!("{have} of {} bytes arrived", wanted.bytes)));
    }
    Ok(())
}

fn compare(wanted: &Wanted<'_>, file: &Path) -> Result<(), ModelsError> {
    let disk = |source| ModelsError::Disk { path: file.to_owned(), source };
    let (bytes, sha256) = crate::models::manifest::hash(file).map_err(disk)?;
    if bytes == wanted.bytes && wanted.sha256.is_none_or(|expected| expected == sha256) {
        return Ok(());
    }
    // What is wrong from the start must not be gone on with.
    File::create(file).map_err(disk)?;
    fs::remove_file(file).map_err(disk)?;
    Err(ModelsError::WrongHash { what: wanted.url.to_owned(), found: sha256 })
}
