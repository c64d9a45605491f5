//! What goes over the wire between the library and the bucket, looked at on its way.
//!
//! Listings lose what the library cannot read ([`listing`]). Uploads are timed by their bytes: a line that takes
//! them, however slowly, is given time, and one that takes none for a while is dead.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};

use crate::store::bucket::foreign::ForeignNames;
use crate::store::bucket::listing::without_foreign;

/// Makes the library's clients with this transport in them.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) foreign: Arc<ForeignNames>,
}

impl HttpConnector for Transport {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Wire { inner, foreign: self.foreign.clone() }))
    }
}

#[derive(Debug)]
struct Wire {
    inner: HttpClient,
    foreign: Arc<ForeignNames>,
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
            let response = self.inner.execute(request).await?;
            if is_listing && response.status().is_success() {
                return self.filtered(response).await;
            }
            Ok(response)
        })
    }
}

impl Wire {
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
