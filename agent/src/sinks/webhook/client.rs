//! The one who posts. Enters: a body and its id. Leaves: an [`Outcome`] within the time that one request may take.

use std::{fmt, time::Duration};

use reqwest::{
    Response, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};

use super::{
    outcome::{HttpAnswer, Outcome, of_http},
    sign::Signer,
};
use crate::{
    clock,
    config::{AbsolutePath, Setting, WebhookSink},
    sinks::{
        ConnectError,
        tls::{self, Tls, Trust},
        words::{Words, innermost, is_transport},
    },
};

/// How we call ourselves.
const AGENT: &str = concat!("outflow/", env!("CARGO_PKG_VERSION"));

/// A connection that is not there by then is none.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Longest answer that is read, bytes; only a sentence of it is ever told.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A client with its connections, its secret and its headers.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    signer: Option<Signer>,
    timeout: Duration,
    words: Words,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("whom", &self.words.endpoint()).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads what stands in files and variables; nobody is asked yet.
    pub(super) fn new(sink: &WebhookSink) -> Result<Self, ConnectError> {
        let read =
            |what: &str, setting: &Setting| setting.value().map_err(|error| ConnectError(format!("{what}: {error}")));
        let address = read("url", &sink.url)?;
        let address = address.trim();
        let url = checked(address)?;
        let secret = sink.secret.as_ref().map(|secret| read("secret", secret)).transpose()?;
        let signer = secret.as_deref().map(Signer::new).transpose()?;
        let (mut headers, mut hidden) = (HeaderMap::new(), Vec::new());
        for (name, setting) in &sink.headers {
            let text = read(&format!("header {name}"), setting)?;
            let field = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| ConnectError(format!("`{}` is no name of a header", name.escape_debug())))?;
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| ConnectError(format!("the value of the header `{field}` holds what a header cannot")))?;
            value.set_sensitive(true);
            headers.append(field, value);
            hidden.push(text);
        }
        hidden.extend(secret);
        // An address that stands in a file is a secret, and so are the parts of its path.
        let is_open = matches!(sink.url, Setting::Text(_));
        let whom = if is_open { address.to_owned() } else { "the webhook".to_owned() };
        if !is_open {
            hidden.push(address.to_owned());
            hidden.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
            hidden.extend(url.query().map(str::to_owned));
        }
        let words = Words::new(&whom, hidden.iter().map(String::as_str));

        let path = |path: &Option<AbsolutePath>| path.as_ref().map(|path| path.get().to_owned());
        let (ca, cert, key) = (path(&sink.ca_file), path(&sink.cert_file), path(&sink.key_file));
        let trust = Trust {
            whom: &whom,
            is_encrypted: url.scheme() == "https",
            ca_file: ca.as_deref(),
            cert_file: cert.as_deref(),
            key_file: key.as_deref(),
        };
        let tls = Tls::read(&trust)?.map_or_else(tls::unused, |tls| Ok(tls.rustls()))?;
        let http = reqwest::Client::builder()
            .user_agent(AGENT)
            .default_headers(headers)
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIME.min(sink.timeout.get()))
            // What was given up must not come behind what is sent after it.
            .tcp_user_timeout(sink.timeout.get())
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| ConnectError(format!("cannot talk to {whom}: {}", innermost(&error.without_url()))))?;
        Ok(Self { http, url, signer, timeout: sink.timeout.get(), words })
    }

    /// Who is talked to, as it may be told.
    pub(super) fn whom(&self) -> &str {
        self.words.endpoint()
    }

    /// Posts one body.
    pub(super) async fn post(&self, id: &str, body: String, content_type: &'static str) -> Outcome {
        // The connection may be dead without anybody having said so; another one is made.
        let late = || Outcome::Broken(format!("no answer from {} within {:?}", self.whom(), self.timeout));
        let asking = self.ask(id, body, content_type);
        tokio::time::timeout(self.timeout, asking).await.unwrap_or_else(|_| late())
    }

    async fn ask(&self, id: &str, body: String, content_type: &'static str) -> Outcome {
        let timestamp_s = clock::now().0 / 1_000_000_000;
        let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, content_type);
        request = request.header("webhook-id", id).header("webhook-timestamp", timestamp_s);
        if let Some(signer) = &self.signer {
            request = request.header("webhook-signature", signer.sign(id, timestamp_s, &body));
        }
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            let because = self.words.because(&innermost(&error));
            let whom = self.whom();
            if error.is_connect() {
                Outcome::Broken(format!("cannot reach {whom}{because}"))
            } else if is_transport(&error) {
                Outcome::Broken(format!("{whom} hung up{because}; if it always does, check `url` and the certificates"))
            } else {
                Outcome::Broken(format!("{whom} does not answer as a web server: check `url`{because}"))
            }
        };
        let answer = match request.body(body).send().await {
            Ok(answer) => answer,
            Err(error) => return failed(error),
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        // What was taken is taken, whatever comes behind.
        let body = match beginning(answer).await {
            Err(error) if !(200..=299).contains(&status) => return failed(error),
            body => body.unwrap_or_default(),
        };
        let (content_type, retry_after) = (text(&CONTENT_TYPE), text(&RETRY_AFTER));
        of_http(HttpAnswer { status, content_type, retry_after, body: &body }, clock::now(), &self.words)
    }
}

/// So much of the body as is looked at.
async fn beginning(mut answer: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() >= ANSWER_BYTES_MAX {
            body.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    Ok(body)
}

/// An address that can be used. It is not quoted: it may hold a secret.
fn checked(address: &str) -> Result<Url, ConnectError> {
    let url: Url = address
        .parse()
        .map_err(|error| ConnectError(format!("`url` is no address such as https://hooks.example.com/x: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(ConnectError("`url` begins with http:// or https://, then a host".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ConnectError("`url` holds a user: give `headers` an authorization instead".to_owned()));
    }
    Ok(url)
}
