//! Enters: the request header `x-fixture`. Leaves: how a test wants this one answer. An unknown word is refused, so that a
//! test with a typing error fails instead of passing by accident.
//!
//! Words, separated by commas, in any order: `gzip` (compress when the client accepts it), `echo` (the answer's text is
//! the request's body), `resolve=MODEL` (the model that claims to have answered), `status=CODE` (an error of the vendor),
//! `size=BYTES` (the answer's text has this length).

use hyper::{HeaderMap, StatusCode};

/// The longest answer that can be asked for, in bytes.
pub(crate) const MAX_SIZE_BYTES: usize = 32 << 20;

/// What one request asks of the fixture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) gzip: bool,
    pub(crate) echo: bool,
    pub(crate) resolve: Option<String>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) size_bytes: Option<usize>,
}

impl Control {
    /// Reads every `x-fixture` header; the error is a sentence for the test's author.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, String> {
        let mut control = Self::default();
        for value in headers.get_all("x-fixture") {
            let value = value.to_str().map_err(|_| "x-fixture is not text".to_owned())?;
            for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                control.apply(word)?;
            }
        }
        let accepts_gzip = headers
            .get_all("accept-encoding")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|coding| coding.split(';').next().map(str::trim) == Some("gzip")));
        control.gzip &= accepts_gzip;
        Ok(control)
    }

    fn apply(&mut self, word: &str) -> Result<(), String> {
        match word.split_once('=') {
            None if word == "gzip" => self.gzip = true,
            None if word == "echo" => self.echo = true,
            Some(("resolve", model)) => self.resolve = Some(model.to_owned()),
            Some(("status", code)) => {
                let code =
                    code.parse().ok().filter(|code: &StatusCode| code.is_client_error() || code.is_server_error());
                self.status = Some(code.ok_or_else(|| format!("x-fixture: {word}: no error status"))?);
            }
            Some(("size", bytes)) => {
                let bytes = bytes.parse().ok().filter(|bytes| *bytes <= MAX_SIZE_BYTES);
                self.size_bytes = Some(bytes.ok_or_else(|| format!("x-fixture: {word}: not 0 to {MAX_SIZE_BYTES}"))?);
            }
            _ => return Err(format!("x-fixture: unknown word {word:?}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fixture: &str, accept: &str) -> Result<Control, String> {
        let mut headers = HeaderMap::new();
        headers.insert("x-fixture", fixture.parse().unwrap());
        headers.insert("accept-encoding", accept.parse().unwrap());
        Control::parse(&headers)
    }

    #[test]
    fn words_are_read_in_any_order() {
        let control = parse("size=10, gzip,resolve=gpt-4o-2024-11-20,status=429,echo", "deflate, gzip;q=1.0").unwrap();
        assert_eq!(
            control,
            Control {
                gzip: true,
                echo: true,
                resolve: Some("gpt-4o-2024-11-20".to_owned()),
                status: Some(StatusCode::TOO_MANY_REQUESTS),
                size_bytes: Some(10),
            }
        );
        assert!(!parse("gzip", "identity").unwrap().gzip, "a client that does not accept gzip does not get it");
    }

    #[test]
    fn mistakes_are_refused() {
        for wrong in ["gzpi", "status=200", "status=x", "size=-1", "size=99999999999", "echo=1"] {
            assert!(parse(wrong, "gzip").is_err(), "{wrong} passed");
        }
    }
}
