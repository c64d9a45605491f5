//! Uploads, timed by their bytes: a line that takes none for a while is dead, long before the deadline of the whole
//! request ([`BucketOptions::change_deadline`]) has passed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::client::{
    HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
};
use tokio::time::timeout;

use crate::store::BucketOptions;

/// Bytes that are handed over at once: one of these in [`UploadLimits::silence`] is enough.
const PIECE: usize = 16 << 10;

/// The kernel keeps so much at most that was handed over and not sent yet.
const SOCKET_BYTES: u64 = 4 << 20;

/// How long nothing may happen.
#[derive(Debug, Clone, Copy)]
struct UploadLimits {
    /// Without a byte that was taken.
    silence: Duration,
    /// From the last byte that was taken to the answer.
    answer: Duration,
}

impl UploadLimits {
    fn of(options: &BucketOptions, bytes: u64) -> Self {
        // What the kernel keeps may still be on its way.
        let answer = options.deadline_of(bytes.min(SOCKET_BYTES));
        Self { silence: options.longest_silence * 2, answer }
    }
}

/// Why an upload was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TooLate {
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("no data was accepted for {0:?}")]
    Silence(Duration),
}

/// Sends a request with its body.
pub(crate) async fn send(
    client: &reqwest::Client,
    options: &BucketOptions,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (parts, body) = request.into_parts();
    let limits = UploadLimits::of(options, body.content_length() as u64);
    let url = parts.uri.to_string().parse();
    let url = url.map_err(|err| HttpError::new(HttpErrorKind::Request, err))?;
    let progress = Arc::new(Progress::new());
    let timed = Timed { body, rest: Bytes::new(), progress: progress.clone() };
    let mut request = reqwest::Request::new(parts.method, url);
    *request.headers_mut() = parts.headers;
    *request.body_mut() = Some(reqwest::Body::wrap(timed));
    let mut answer = std::pin::pin!(client.execute(request));
    loop {
        let left = progress.left(limits);
        match timeout(left, answer.as_mut()).await {
            Ok(answer) => return answer.map(response).map_err(of_reqwest),
            Err(_) if !progress.left(limits).is_zero() => {}
            Err(_) => {
                return Err(HttpError::new(HttpErrorKind::Timeout, progress.too_late(limits)));
            }
        }
    }
}

fn response(response: reqwest::Response) -> HttpResponse {
    let response: http::Response<reqwest::Body> = response.into();
    let (parts, body) = response.into_parts();
    let body = HttpResponseBody::new(Answer(body));
    HttpResponse::from_parts(parts, body)
}

fn of_reqwest(err: reqwest::Error) -> HttpError {
    let kind = if err.is_connect() {
        HttpErrorKind::Connect
    } else if err.is_timeout() {
        HttpErrorKind::Timeout
    } else if err.is_decode() {
        HttpErrorKind::Decode
    } else {
        HttpErrorKind::Request
    };
    // The address may hold a signature.
    HttpError::new(kind, err.without_url())
}

/// When the last byte was taken, and whether it was the last of all.
#[derive(Debug)]
struct Progress {
    begun: Instant,
    taken_after_millis: AtomicU64,
    is_over: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            taken_after_millis: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    fn note(&self, is_over: bool) {
        self.note_after(self.begun.elapsed(), is_over);
    }

    fn note_after(&self, after: Duration, is_over: bool) {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.taken_after_millis.store(after, Ordering::Relaxed);
        self.is_over.fetch_or(is_over, Ordering::Relaxed);
    }

    fn too_late(&self, limits: UploadLimits) -> TooLate {
        match self.is_over.load(Ordering::Relaxed) {
            true => TooLate::NoAnswer(limits.answer),
            false => TooLate::Silence(limits.silence),
        }
    }

    /// The time that is left until it is too late.
    fn left(&self, limits: UploadLimits) -> Duration {
        self.left_after(self.begun.elapsed(), limits)
    }

    fn left_after(&self, after: Duration, limits: UploadLimits) -> Duration {
        let is_over = self.is_over.load(Ordering::Relaxed);
        let longest = if is_over { limits.answer } else { limits.silence };
        let taken = Duration::from_millis(self.taken_after_millis.load(Ordering::Relaxed));
        (taken + longest).saturating_sub(after)
    }
}

/// A body that notes when it is taken.
struct Timed {
    body: HttpRequestBody,
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Body for Timed {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        while self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    self.rest = frame.into_data().unwrap_or_default();
                }
                Poll::Ready(end) => {
                    self.progress.note(true);
                    return Poll::Ready(end.map(|end| end.map(|_| Frame::data(Bytes::new()))));
                }
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        let is_over = self.is_end_stream();
        self.progress.note(is_over);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        match self.body.size_hint().exact() {
            Some(bytes) => SizeHint::with_exact(bytes + rest),
            None => SizeHint::default(),
        }
    }
}

/// The body of an answer, with errors as the library has them.
#[derive(Debug)]
struct Answer(reqwest::Body);

impl Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Pin::new(&mut self.0).poll_frame(context).map_err(of_reqwest)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::model::Key;
    use crate::store::{Bucket, Keys, Label, S3Bucket, Secret, StoreError};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_small_upload_has_no_more_time_for_its_answer_than_any_request() {
        let options = BucketOptions::new("talks");
        assert_eq!(UploadLimits::of(&options, 20_000).answer, options.deadline);
        let part = UploadLimits::of(&options, 16 << 20);
        assert_eq!(part.answer, options.deadline + seconds(128));
        assert_eq!(part.silence, seconds(30));
    }

    #[test]
    fn an_upload_that_goes_on_is_never_too_late_and_one_that_stands_still_soon_is() {
        let limits = UploadLimits { silence: seconds(30), answer: seconds(15) };
        let progress = Progress::new();
        assert_eq!(progress.left_after(seconds(31), limits), Duration::ZERO);
        // Two hours of a byte now and then.
        for after in (0..7_200).step_by(29) {
            assert_ne!(progress.left_after(seconds(after), limits), Duration::ZERO);
            progress.note_after(seconds(after), false);
        }
        progress.note_after(seconds(7_200), true);
        assert_eq!(progress.left_after(seconds(7_214), limits), seconds(1));
        assert_eq!(progress.left_after(seconds(7_215), limits), Duration::ZERO);
    }

    /// What is put. A server that takes its time needs fifty times as long as it has.
    const PUT: usize = 32 << 20;

    /// Puts [`PUT`] bytes to a server that does `serve` with the connection, and never answers.
    fn put_to(serve: impl Fn(TcpStream) + Send + 'static) -> Result<(), StoreError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || listener.incoming().flatten().for_each(serve));
        let options = BucketOptions {
            endpoint: Some(endpoint),
            keys: Keys::Given {
                id: "test".to_owned(),
                secret: Secret::new("test"),
                session_token: None,
            },
            deadline: Duration::from_millis(200),
            longest_silence: Duration::from_millis(100),
            slowest_bytes_per_second: u64::MAX,
            ..BucketOptions::new("talks")
        };
        let bucket = S3Bucket::open(&options).unwrap();
        let key = Key::new("a/2024/01/15/x.wav").unwrap();
        bucket.put_labelled(&key, vec![7; PUT].into(), &Label::default())
    }

    /// Takes a request's bytes slowly and without a pause, and then says that all is well.
    fn drip(mut stream: TcpStream, took_all: Arc<AtomicBool>) {
        thread::spawn(move || {
            let mut taken = 0;
            while taken < PUT {
                match stream.read(&mut [0; 65_536]) {
                    Ok(bytes) if 0 < bytes => taken += bytes,
                    _ => return,
                }
                thread::sleep(Duration::from_millis(20));
            }
            took_all.store(true, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 0\r\n\r\n";
            // Nobody may listen any more.
            let _ = stream.write_all(answer);
        });
    }

    #[test]
    fn an_upload_ends_at_its_deadline_however_well_it_goes() {
        let took_all = Arc::<AtomicBool>::default();
        let noted = took_all.clone();
        let dripped = put_to(move |stream| drip(stream, noted.clone()));
        assert!(matches!(dripped, Err(StoreError::Unavailable { .. })), "{dripped:?}");
        assert!(!took_all.load(Ordering::Relaxed), "it went on to the end");
    }

    #[test]
    fn a_server_that_takes_nothing_or_answers_nothing_is_given_up() {
        let takes_nothing = put_to(std::mem::forget);
        assert!(matches!(takes_nothing, Err(StoreError::Unavailable { .. })), "{takes_nothing:?}");
        let answers_nothing = put_to(|mut stream| {
            thread::spawn(move || while stream.read(&mut [0; 65_536]).is_ok_and(|it| 0 < it) {});
        });
        assert!(matches!(answers_nothing, Err(StoreError::Unavailable { .. })));
    }
}
