//! What a failed request means for whoever made it. The one place that knows.
//!
//! `object_store` keeps the status and the code of an answer to itself and shows them only in its messages, so
//! they are read from there; `tests/bucket_contract.rs` notices should the messages change. What is handed
//! on is put in our own words: the library's hold addresses, and a bucket's own hold what it was sent.

use std::error::Error;

use object_store::client::{HttpError, HttpErrorKind};

use crate::model::Key;
use crate::store::bucket::credentials_error::CredentialsError;
use crate::store::bucket::uploading::TooLate;
use crate::store::reach::Interrupted;
use crate::store::{Reach, StoreError};

/// What went wrong with `key`.
pub(crate) fn failed(key: &Key, err: &object_store::Error) -> StoreError {
    match Meaning::of(err) {
        Meaning::Missing => StoreError::Missing { key: key.clone() },
        Meaning::Passing(words) => unavailable(key.as_str(), interrupted(err, words)),
        Meaning::Lasting(words) => refused(key.as_str(), words),
    }
}

/// What went wrong with a listing.
pub(crate) fn failed_listing(prefix: &str, err: &object_store::Error) -> StoreError {
    match Meaning::of(err) {
        Meaning::Missing => refused(prefix, "the bucket cannot be listed (404)".to_owned()),
        Meaning::Passing(words) => unavailable(prefix, interrupted(err, words)),
        Meaning::Lasting(words) => refused(prefix, words),
    }
}

/// What stopped a request, by how far it came.
fn interrupted(err: &object_store::Error, words: String) -> Interrupted {
    let reach = match Answer::read(&err.to_string()) {
        Some(_) => Reach::Answered,
        None if found_in::<TooLate>(err).is_some() => Reach::Slow,
        None => Reach::Silent,
    };
    Interrupted { words, reach }
}

/// Whether the range begins at the object's end or behind it.
pub(crate) fn is_past_the_end(err: &object_store::Error) -> bool {
    Answer::read(&err.to_string()).is_some_and(|answer| answer.status == 416)
}

/// Whether the condition of a put was not met. At AWS 409 is something else: two puts met, ask again.
pub(crate) fn is_unmet_condition(err: &object_store::Error) -> bool {
    Answer::read(&err.to_string()).is_some_and(|answer| answer.status == 412)
}

/// Whether there is nothing: the object is missing, or the bucket.
pub(crate) fn is_not_found(err: &object_store::Error) -> bool {
    Answer::read(&err.to_string()).is_some_and(|answer| answer.status == 404)
}

/// Whether whoever answered could not prove to be the endpoint.
pub(crate) fn is_certificate(err: &object_store::Error) -> bool {
    found_in::<HttpError>(err).is_some_and(|err| innermost(err).contains("certificate"))
}

/// Whether the bucket refused without saying why, as it must where an answer has no body.
pub(crate) fn is_wordless(err: &object_store::Error) -> bool {
    Answer::read(&err.to_string()).is_some_and(|answer| answer.code.is_empty())
}

pub(crate) fn unavailable(at: &str, words: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable { at: at.to_owned(), source: words.into() }
}

pub(crate) fn refused(at: &str, words: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Refused { at: at.to_owned(), source: words.into() }
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Missing,
    /// Time cures it.
    Passing(String),
    /// A person has to.
    Lasting(String),
}

impl Meaning {
    fn of(err: &object_store::Error) -> Self {
        if let Some(err) = found_in::<CredentialsError>(err) {
            let words = err.to_string();
            return if err.is_passing() { Self::Passing(words) } else { Self::Lasting(words) };
        }
        if let Some(answer) = Answer::read(&err.to_string()) {
            return answer.meaning();
        }
        if let Some(err) = found_in::<HttpError>(err) {
            return of_transport(err);
        }
        match err {
            object_store::Error::InvalidPath { .. } => {
                Self::Lasting("there is an object with a name that cannot be read".to_owned())
            }
            _ => Self::Passing("the answer could not be understood".to_owned()),
        }
    }
}

/// An answer that says no.
#[derive(Debug)]
struct Answer<'a> {
    status: u16,
    /// Empty where there was none.
    code: &'a str,
    /// Whether there was a body that is none of S3's.
    is_foreign: bool,
    /// Where the bucket is, if that is what is wrong.
    region: Option<&'a str>,
}

impl<'a> Answer<'a> {
    fn read(message: &'a str) -> Option<Self> {
        if message.contains("Received redirect without LOCATION") {
            return Some(Self { status: 301, code: "", is_foreign: false, region: None });
        }
        let (status, body) = match message.split_once("Server returned non-2xx status code: ") {
            Some((_, answer)) => answer.split_once(": ").unwrap_or((answer, "")),
            None => ("200", message.split_once("Server returned error response: ")?.1),
        };
        let status = status.split(' ').next()?.parse().ok()?;
        let code = within(body, "Code").unwrap_or("");
        let is_foreign = code.is_empty() && !body.trim().is_empty();
        Some(Self { status, code, is_foreign, region: within(body, "Region") })
    }

    fn meaning(&self) -> Meaning {
        match (self.code, self.status) {
            ("NoSuchKey" | "NoSuchUpload" | "InvalidPart" | "InvalidPartOrder", _) => {
                Meaning::Missing
            }
            ("NoSuchBucket", _) => self.lasting("there is no such bucket"),
            ("InvalidAccessKeyId", _) => self.lasting("the bucket does not know this access key"),
            ("SignatureDoesNotMatch", _) => {
                self.lasting("the secret does not belong to the access key")
            }
            ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => {
                self.lasting("the session token is no longer valid")
            }
            ("RequestTimeTooSkewed", _) => {
                self.passing("this machine's clock is wrong by more than the bucket allows")
            }
            ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect", _)
            | (_, 300..=399) => self.elsewhere(),
            ("InvalidObjectState", _) => self.lasting("the object is archived; restore it first"),
            ("NotImplemented", _) | (_, 501) => {
                self.lasting("the bucket cannot do that; is the provider the right one?")
            }
            (
                "BadDigest"
                | "IncompleteBody"
                | "RequestTimeout"
                | "XAmzContentSHA256Mismatch"
                | "XAmzContentChecksumMismatch",
                _,
            ) => self.passing("not all bytes arrived as they were sent"),
            (_, 404) if self.is_foreign => {
                self.lasting("the endpoint does not answer like a bucket")
            }
            (_, 404) => Meaning::Missing,
            (_, 401 | 403) => self.lasting("these keys do not have permission for that"),
            (_, 408 | 409 | 425 | 429) => self.passing("the bucket asks to slow down"),
            (_, 400..=499) => self.lasting("the bucket does not accept the request"),
            _ => self.passing("the bucket has an internal error"),
        }
    }

    fn elsewhere(&self) -> Meaning {
        match self.region.and_then(plain) {
            Some(region) => self.lasting(&format!("the bucket is in the region {region}")),
            None => self.lasting("the bucket is in another region"),
        }
    }

    fn passing(&self, words: &str) -> Meaning {
        Meaning::Passing(self.with_code(words))
    }

    fn lasting(&self, words: &str) -> Meaning {
        Meaning::Lasting(self.with_code(words))
    }

    fn with_code(&self, words: &str) -> String {
        match plain(self.code) {
            Some(code) => format!("{words} ({} {code})", self.status),
            None => format!("{words} ({})", self.status),
        }
    }
}

/// The text in an element of that name.
fn within<'a>(body: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{element}>"))?;
    Some(rest.split_once(&format!("</{element}>"))?.0)
}

/// A word that may stand in a message, whoever sent it.
fn plain(word: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    (!word.is_empty() && word.len() <= 64 && word.bytes().all(is_plain)).then_some(word)
}

fn of_transport(err: &HttpError) -> Meaning {
    if let Some(late) = found_in::<TooLate>(err) {
        return Meaning::Passing(late.to_string());
    }
    let cause = innermost(err);
    if cause.contains("certificate") {
        return Meaning::Lasting(format!("the endpoint's certificate was not accepted: {cause}"));
    }
    let words = match err.kind() {
        HttpErrorKind::Connect => "no connection",
        HttpErrorKind::Timeout => "no answer in time",
        HttpErrorKind::Decode => "the answer could not be read",
        HttpErrorKind::Request | HttpErrorKind::Interrupted | HttpErrorKind::Unknown => {
            "the connection broke"
        }
        // The library reserves the right to find more.
        _ => "the request failed",
    };
    Meaning::Passing(format!("{words}: {cause}"))
}

/// What began it. Addresses and headers are only ever in the words around it.
fn innermost(err: &HttpError) -> String {
    let mut cause: &dyn Error = err;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().chars().take(160).collect()
}

fn found_in<'a, E: Error + 'static>(err: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut cause = Some(err);
    while let Some(err) = cause {
        if let Some(found) = err.downcast_ref() {
            return Some(found);
        }
        cause = err.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: &str, body: &str) -> Meaning {
        let message = format!(
            "Generic S3 error: Error performing PUT http://h/b?X-Amz-Signature=0 in 1ms - \
             Server returned non-2xx status code: {status}: {body}"
        );
        Answer::read(&message).unwrap().meaning()
    }

    fn error(code: &str) -> String {
        format!("<Error><Code>{code}</Code><Message>AKIA: no</Message></Error>")
    }

    #[test]
    fn an_answer_is_told_apart_by_its_code_and_then_its_status() {
        let passing = |words: &str| Meaning::Passing(words.to_owned());
        let lasting = |words: &str| Meaning::Lasting(words.to_owned());
        for (status, body, expected) in [
            ("404 Not Found", error("NoSuchKey"), Meaning::Missing),
            ("404 Not Found", error("NoSuchUpload"), Meaning::Missing),
            ("400 Bad Request", error("InvalidPart"), Meaning::Missing),
            ("404 Not Found", String::new(), Meaning::Missing),
            (
                "404 Not Found",
                error("NoSuchBucket"),
                lasting("there is no such bucket (404 NoSuchBucket)"),
            ),
            (
                "404 Not Found",
                "<html>nginx</html>".to_owned(),
                lasting("the endpoint does not answer like a bucket (404)"),
            ),
            (
                "403 Forbidden",
                error("AccessDenied"),
                lasting("these keys do not have permission for that (403 AccessDenied)"),
            ),
            (
                "403 Forbidden",
                error("RequestTimeTooSkewed"),
                passing(
                    "this machine's clock is wrong by more than the bucket allows \
                     (403 RequestTimeTooSkewed)",
                ),
            ),
            ("503 Slow Down", String::new(), passing("the bucket has an internal error (503)")),
            (
                "429 Too Many Requests",
                error("TooManyRequests"),
                passing("the bucket asks to slow down (429 TooManyRequests)"),
            ),
            (
                "400 Bad Request",
                "<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>".to_owned(),
                lasting("the bucket is in the region eu-west-1 (400 AuthorizationHeaderMalformed)"),
            ),
            (
                "507 Insufficient Storage",
                error("XMinioStorageFull"),
                passing("the bucket has an internal error (507 XMinioStorageFull)"),
            ),
        ] {
            assert_eq!(meaning(status, &body), expected);
        }
    }

    #[test]
    fn an_error_in_an_answer_that_says_yes_is_an_error() {
        let message = format!("Server returned error response: {}", error("InternalError"));
        let meaning = Answer::read(&message).unwrap().meaning();
        assert_eq!(
            meaning,
            Meaning::Passing("the bucket has an internal error (200 InternalError)".to_owned())
        );
    }

    #[test]
    fn words_of_a_stranger_are_not_repeated() {
        let odd = meaning("403 Forbidden", &error("a secret: <b>"));
        assert_eq!(
            odd,
            Meaning::Lasting("these keys do not have permission for that (403)".to_owned())
        );
    }
}
