//! A client of LLM vendors as Rust programs are made: reqwest over rustls. Enters: what to send, and to whom. Leaves: one line of JSON
//! on standard output that says how it went. It trusts the certificates that SSL_CERT_FILE names, and no others.
//!
//! The tests' server speaks HTTP/1.1. For HTTP/2 the client starts another server, which is this program too: [`recorder`].

mod recorder;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use reqwest::{Certificate, Client, Version, tls};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_rustls::rustls::crypto::ring;

/// Sends chat requests to a vendor, or to whoever stands in for it
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Server name
    #[arg(long, default_value = "api.openai.com")]
    host: String,
    /// Requests, one after the other
    #[arg(long, default_value_t = 1)]
    requests: usize,
    /// Clients that do so at the same time, each with its own connection
    #[arg(long, default_value_t = 1)]
    parallel: usize,
    /// Bytes of the text in a request
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Ask for a streamed answer
    #[arg(long)]
    stream: bool,
    /// Go to this server with every second request, and open a connection for each
    #[arg(long)]
    alternate: Option<String>,
    /// Offer no TLS 1.3
    #[arg(long)]
    tls12: bool,
    /// End as soon as this file is there
    #[arg(long)]
    stop: Option<PathBuf>,
    /// Speak HTTP/2 with this program, started as a server that writes to --journal
    #[arg(long, requires = "journal")]
    recorder: Option<PathBuf>,
    /// Folder for what the server reads and writes
    #[arg(long)]
    journal: Option<PathBuf>,
    /// Be that server
    #[arg(long, hide = true)]
    record: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ring::default_provider().install_default().ok().context("somebody chose a provider before")?;
    if arguments.record {
        return recorder::serve(&arguments.host, &arguments.journal.context("--record needs --journal")?).await;
    }
    let started = match (&arguments.recorder, &arguments.journal) {
        (Some(program), Some(journal)) => Some(recorder::Recorder::start(program, &arguments.host, journal).await?),
        _ => None,
    };
    let mut clients = JoinSet::new();
    for _ in 0..arguments.parallel {
        clients.spawn(ask(arguments.clone(), started.as_ref().map(|recorder| recorder.address.clone())));
    }
    let (mut answered, mut received, mut version) = (0, 0, None);
    while let Some(asked) = clients.join_next().await {
        let asked = asked??;
        answered += asked.answered;
        received += asked.received_bytes;
        version = Some(asked.version);
    }
    println!(
        "{}",
        json!({"requests": answered, "received_bytes": received, "protocol": format!("{:?}", version.context("no client")?)})
    );
    if let Some(recorder) = started {
        recorder.stop().await?;
    }
    Ok(())
}

fn new_client(arguments: &Arguments, server: Option<&recorder::Address>) -> Result<Client> {
    let trusted = match server {
        Some(server) => server.certificate.clone().into_bytes(),
        None => std::fs::read(std::env::var_os("SSL_CERT_FILE").context("SSL_CERT_FILE is not set")?)?,
    };
    let mut builder =
        Client::builder().tls_certs_only(Certificate::from_pem_bundle(&trusted)?).timeout(Duration::from_secs(50));
    if let Some(server) = server {
        builder = builder.resolve(&arguments.host, SocketAddr::from((Ipv4Addr::LOCALHOST, server.port)));
    }
    if arguments.tls12 {
        builder = builder.tls_version_max(tls::Version::TLS_1_2);
    }
    Ok(builder.no_proxy().build()?)
}

fn body(arguments: &Arguments) -> String {
    let text = "Good morning. ".repeat(arguments.size / 14 + 1);
    json!({
        "model": "gpt-5",
        "stream": arguments.stream,
        "messages": [{"role": "user", "content": text.get(..arguments.size)}],
    })
    .to_string()
}

struct Asked {
    answered: usize,
    received_bytes: usize,
    version: Version,
}

async fn ask(arguments: Arguments, server: Option<recorder::Address>) -> Result<Asked> {
    let mut asked = Asked { answered: 0, received_bytes: 0, version: Version::HTTP_09 };
    let port = server.as_ref().map_or(443, |server| server.port);
    let mut client = new_client(&arguments, server.as_ref())?;
    let body = body(&arguments);
    while asked.answered < arguments.requests && !arguments.stop.as_deref().is_some_and(Path::exists) {
        let mut host = &arguments.host;
        if let Some(other) = &arguments.alternate {
            client = new_client(&arguments, server.as_ref())?;
            host = if asked.answered % 2 == 1 { other } else { host };
        }
        let request = client.post(format!("https://{host}:{port}/v1/chat/completions")).body(body.clone());
        let request = request.header("content-type", "application/json").header("authorization", "Bearer invented");
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "the server answered {}", answer.status());
        asked.version = answer.version();
        asked.received_bytes += answer.bytes().await?.len();
        asked.answered += 1;
    }
    Ok(asked)
}
