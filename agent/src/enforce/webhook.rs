//! A webhook. Enters: an address and texts. Leaves: POST requests to it alone, with a JSON object each. It follows no redirect and uses
//! no proxy; its answers are not read. The address, which may be a secret, stands in no error.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::{StatusCode, blocking::Client, header::CONTENT_TYPE, redirect::Policy};

use crate::{config::Setting, sinks::otlp::tls};

/// How long one attempt may take.
const ATTEMPT_TIME: Duration = Duration::from_secs(5);
/// Between attempts.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
const AGENT: &str = concat!("outflow/", env!("CARGO_PKG_VERSION"));

/// A webhook.
pub(super) struct Webhook {
    address: Setting,
    client: Client,
}

impl Webhook {
    /// Connects to nobody yet.
    pub(super) fn new(address: Setting) -> Result<Self, String> {
        let tls = tls::system().map_err(|error| error.to_string())?;
        let client = Client::builder()
            .user_agent(AGENT)
            .redirect(Policy::none())
            .no_proxy()
            .timeout(ATTEMPT_TIME)
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| error.without_url().to_string())?;
        Ok(Self { address, client })
    }

    /// Sends it, in three attempts at most; at the end of the agent in one.
    pub(super) fn post(&self, text: &str, ending: &AtomicBool) -> Result<(), String> {
        let mut waits = WAITS.iter();
        loop {
            let why = match self.attempt(text) {
                Ok(status) if status.is_success() => return Ok(()),
                // What was refused once is refused again.
                Ok(status) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                    return Err(format!("it was answered with {status}"));
                }
                Ok(status) => format!("it was answered with {status}"),
                Err(why) => why,
            };
            match waits.next() {
                Some(wait) if !ending.load(Ordering::Acquire) => std::thread::sleep(*wait),
                _ => return Err(why),
            }
        }
    }

    fn attempt(&self, text: &str) -> Result<StatusCode, String> {
        let address = self.address.value().map_err(|error| error.to_string())?;
        let request = self.client.post(address.trim()).header(CONTENT_TYPE, "application/json").body(text.to_owned());
        request.send().map(|answer| answer.status()).map_err(|error| {
            let error = error.without_url();
            std::error::Error::source(&error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers one connection after the other with these; gives what was asked.
    fn answering(answers: &'static [&'static str]) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/hook", listener.local_addr().unwrap());
        let serve = move || {
            let answer = |status: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                let mut buffer = [0; 4096];
                while !asked.ends_with(b"{\"a\":1}") {
                    let read = stream.read(&mut buffer).unwrap();
                    assert!(read > 0, "the request breaks off");
                    asked.extend_from_slice(&buffer[..read]);
                }
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
                String::from_utf8(asked).unwrap()
            };
            answers.iter().map(answer).collect()
        };
        (address, std::thread::spawn(serve))
    }

    fn post(address: &str, is_ending: bool) -> Result<(), String> {
        let webhook = Webhook::new(Setting::Text(address.to_owned())).unwrap();
        webhook.post("{\"a\":1}", &AtomicBool::new(is_ending))
    }

    #[test]
    fn an_object_is_posted_and_tried_again_when_the_other_side_is_in_trouble() {
        let (address, served) = answering(&["503 Busy", "204 No Content"]);
        assert_eq!(post(&address, false), Ok(()));
        let asked = served.join().unwrap();
        assert!(asked[1].starts_with("POST /hook HTTP/1.1\r\n") && asked[1].contains("content-type: application/json"));
    }

    #[test]
    fn a_refusal_is_told_once_and_without_the_address() {
        for (answer, is_ending) in [(&["404 Not Found"], false), (&["500 Oh"], true)] {
            let (address, served) = answering(answer);
            let why = post(&address, is_ending).unwrap_err();
            assert!(why.contains(&answer[0][..3]) && !why.contains("hook"), "{why}");
            assert_eq!(served.join().unwrap().len(), 1);
        }
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let why = post(&format!("http://{gone}/hook"), true).unwrap_err();
        assert!(!why.contains("hook"), "{why}");
    }
}
