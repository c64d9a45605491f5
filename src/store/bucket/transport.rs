//! What goes over the wire between the library and the bucket, looked at on its way.
//!
//! Listings lose what the library cannot read ([`without_foreign`]), and uploads are timed by their bytes
//! ([`uploading`]).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};

use crate::store::BucketOptions;
use crate::store::bucket::foreign::ForeignNames;
use crate::store::bucket::key_lifetime::KeyLifetime;
use crate::store::bucket::listing::without_foreign;
use crate::store::bucket::uploading;

/// Makes the library's clients with this transport in them.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) foreign: Arc<ForeignNames>,
    pub(crate) lifetime: Arc<KeyLifetime>,
    /// Requests to other hosts than this one ask for keys.
    pub(crate) host: String,
    pub(crate) options: BucketOptions,
    pub(crate) allows_http: bool,
}

/// A host that takes so long to say hello is not there.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// An idle connection is given up before the other side does it: a request on one that the other side has
/// closed is lost.
pub(crate) const IDLE: Duration = Duration::from_secs(15);

/// A line that has swallowed bytes for so long without a word from the other end is dead.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

pub(crate) const USER_AGENT: &str = concat!("scribefs/", env!("CARGO_PKG_VERSION"));

impl HttpConnector for Transport {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        let uploads = self
            .upload_client()
            .map_err(|err| object_store::Error::Generic { store: "S3", source: Box::new(err) })?;
        Ok(HttpClient::new(Wire {
            inner,
            uploads,
            options: self.options.clone(),
            foreign: self.foreign.clone(),
            lifetime: self.lifetime.clone(),
            host: self.host.clone(),
        }))
    }
}

impl Transport {
    /// As the library makes its own.
    fn upload_client(&self) -> reqwest::Result<reqwest::Client> {
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .http1_only()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .https_only(!self.allows_http)
            .build()
    }
}

#[derive(Debug)]
struct Wire {
    inner: HttpClient,
    uploads: reqwest::Client,
    options: BucketOptions,
    foreign: Arc<ForeignNames>,
    lifetime: Arc<KeyLifetime>,
    host: String,
}

impl HttpService for Wire {
    fn call<'service, 'future>(
        &'service self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'future>>
    where
        'service: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let is_listing = request.method().as_str() == "GET"
                && request.uri().query().is_some_and(|query| query.contains("list-type=2"));
            if request.method().as_str() == "PUT" && request.body().content_length() != 0 {
                return uploading::send(&self.uploads, &self.options, request).await;
            }
            let authority = request.uri().authority().map_or("", |authority| authority.as_str());
            let is_for_keys = !authority.ends_with(&self.host);
            let response = self.inner.execute(request).await?;
            if is_for_keys && response.status().is_success() {
                return self.noting_lifetime(response).await;
            }
            if is_listing && response.status().is_success() {
                return self.filtered(response).await;
            }
            Ok(response)
        })
    }
}

impl Wire {
    /// Keys that a role hands out end at a time which the library keeps to itself.
    async fn noting_lifetime(&self, response: HttpResponse) -> Result<HttpResponse, HttpError> {
        let (parts, body) = response.into_parts();
        let bytes = body.bytes().await?;
        self.lifetime.note(&bytes);
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes)))
    }

    async fn filtered(&self, response: HttpResponse) -> Result<HttpResponse, HttpError> {
        let (mut parts, body) = response.into_parts();
        let xml = body.bytes().await?;
        let Some((kept, aside)) = without_foreign(&xml) else {
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(xml)));
        };
        self.foreign.note(aside.0);
        parts.headers.remove("content-length");
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(kept)))
    }
}
