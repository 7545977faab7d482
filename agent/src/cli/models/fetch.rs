//! `outflow models fetch`: a newer catalogue of prices. Enters: an address. Leaves: a file with it, whole or not at all, which `[prices]
//! catalogue_file` names; the running agent asks nobody. A catalogue that cannot be read, or that lost models, is not kept.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use reqwest::{Url, blocking::Client};
use rustix::fs::Mode;

use crate::{exchange::Catalogue, sinks::otlp::tls};

/// How long it may take.
const TIME: Duration = Duration::from_mins(1);
/// No catalogue is larger: that of November 2026 has 0.8 MB.
const BYTES_MAX: u64 = 32 << 20;
const AGENT: &str = concat!("outflow/", env!("CARGO_PKG_VERSION"));

/// Fetches a newer catalogue of prices into a file, which `catalogue_file` in `[prices]` may name
///
/// It is checked before it takes the place of the one that is there: it must be a catalogue, and must not have lost more than 20 % of the
/// models. A running agent takes it at its next look.
#[derive(Debug, clap::Args)]
pub(super) struct Fetch {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Where from: an address, https or on this machine
    #[arg(long, value_name = "URL", default_value = genai_prices::REMOTE_DATA_URL)]
    from: Url,
}

pub(super) fn run(args: &Fetch) -> anyhow::Result<ExitCode> {
    let Fetch { to, from } = args;
    let is_here = matches!(from.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if !(from.scheme() == "https" || from.scheme() == "http" && is_here) {
        bail!("{from} is not fetched: prices decide what budgets stop, so they come by https, or from this machine");
    }
    let before = match fs::read(to) {
        Ok(text) => Catalogue::from_json(&text)
            .with_context(|| format!("{} is there already and is none, so it is left alone", to.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Catalogue::bundled(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", to.display())),
    };
    let text = fetch(from)?;
    let new = Catalogue::from_json(&text).with_context(|| format!("what is at {from} is not kept"))?;
    new.replaces(&before).with_context(|| format!("what is at {from} is not kept, {} stays", before.version()))?;
    if new.version() == before.version() {
        anstream::eprintln!("outflow: {} is up to date: {}, {} models", to.display(), new.version(), new.len());
        return Ok(ExitCode::SUCCESS);
    }
    keep(to, &text).with_context(|| format!("cannot write {}", to.display()))?;
    let (version, models) = (new.version(), new.len());
    anstream::eprintln!(
        "outflow: {}: {version}, {models} models (before: {}, {})",
        to.display(),
        before.version(),
        before.len()
    );
    Ok(ExitCode::SUCCESS)
}

fn fetch(from: &Url) -> anyhow::Result<Vec<u8>> {
    let client = Client::builder().user_agent(AGENT).timeout(TIME).tls_backend_preconfigured(tls::system()?).build()?;
    let answer = client.get(from.clone()).send().and_then(reqwest::blocking::Response::error_for_status)?;
    let mut text = Vec::new();
    if answer.take(BYTES_MAX + 1).read_to_end(&mut text)? as u64 > BYTES_MAX {
        bail!("what is at {from} is larger than {BYTES_MAX} bytes, so it is no catalogue");
    }
    Ok(text)
}

/// Whoever looks meanwhile sees the old file or the new one.
fn keep(to: &Path, text: &[u8]) -> io::Result<()> {
    let name = to.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = name.to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = to.with_file_name(beside);
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, to)
    };
    write().inspect_err(|_| {
        // It may never have been made.
        let _ = fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers once; gives the address.
    fn serve(answer: String) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        Url::parse(&format!("http://{address}/data.json")).unwrap()
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    fn catalogue(models: usize) -> String {
        let models: Vec<String> = (0..models)
            .map(|number| format!(r#"{{"id":"a-{number}","match":{{"equals":"a-{number}"}},"prices":{{"input_mtok":1,"output_mtok":2}}}}"#))
            .collect();
        format!(
            r#"[{{"id":"acme","name":"Acme","api_pattern":"https://llm[.]acme[.]example","models":[{}]}}]"#,
            models.join(",")
        )
    }

    #[test]
    fn a_good_catalogue_takes_the_place_of_the_old_one_and_a_bad_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("prices.json");
        fs::write(&to, catalogue(10)).unwrap();
        let fetch = |answer: String| {
            run(&Fetch { to: to.clone(), from: serve(answer) }).map(drop).map_err(|error| format!("{error:#}"))
        };
        fetch(answer("200 OK", &catalogue(12))).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), catalogue(12));
        for (bad, why) in [
            (answer("200 OK", &catalogue(9)), "it has lost 3 of 12 models"),
            (answer("200 OK", "<html>"), "it is no price catalogue"),
            (answer("404 Not Found", ""), "404"),
        ] {
            let error = fetch(bad).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert_eq!(fs::read_to_string(&to).unwrap(), catalogue(12));
        }
        fetch(answer("200 OK", &catalogue(10))).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        // What is no catalogue is somebody's file.
        fs::write(&to, "mine").unwrap();
        assert!(fetch(answer("200 OK", &catalogue(10))).unwrap_err().contains("left alone"));
        let far = Fetch { to, from: Url::parse("http://prices.example/data.json").unwrap() };
        assert!(format!("{:#}", run(&far).unwrap_err()).contains("https"));
    }
}
