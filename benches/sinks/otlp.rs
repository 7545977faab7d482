//! Findings a second from the store to a collector, over gRPC and HTTP, compressed and not. Enters: a store with findings. Leaves: the sink
//! beside a bare loop over the same client library, with the same requests made beforehand and as many of them under way, in turns.
//!
//! The collector prints every record that it takes, which costs more than taking it: this is its speed more than anybody else's, and the
//! seconds of CPU beside it are ours.

use std::{io::Write as _, sync::Arc};

use anyhow::{Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, logs_service_client::LogsServiceClient,
};
use outflow::sinks::otlp::request;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use testbed::Collector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tonic::codec::CompressionEncoding;

use crate::{
    Settings,
    figures::{Clock, Way, compare},
    place::Place,
};

const ROUNDS: usize = 9;

/// As the sink has them (agent/src/sinks/otlp/receiver.rs).
const BATCH_RECORDS: usize = 500;
const BATCHES: usize = 2;

pub(crate) fn run(settings: &Settings) -> Result<()> {
    if let Some(reason) = testbed::missing_for_collector() {
        println!("SKIP otlp: {reason}");
        return Ok(());
    }
    let place = Place::fill(&settings.folder, settings.findings)?;
    let cores = Cores::new()?;
    // Children and threads start where the thread is that starts them.
    sched_setaffinity(None, &cores.collector)?;
    let collector = Collector::start(place.dir())?;
    sched_setaffinity(None, &cores.rest)?;
    println!("{} findings a run, {BATCH_RECORDS} a request, medians of {ROUNDS}", place.findings);
    let requests: Vec<ExportLogsServiceRequest> =
        place.records()?.chunks(BATCH_RECORDS).map(|chunk| request(chunk, &place.host, false)).collect();
    let (grpc_to, http_to) = (collector.grpc_endpoint(), collector.http_endpoint());
    for (protocol, endpoint) in [("grpc", grpc_to), ("http", http_to)] {
        for compression in ["gzip", "none"] {
            let bare = || match protocol {
                "grpc" => grpc(endpoint, compression == "gzip", requests.clone()),
                _ => http(endpoint, compression == "gzip", &requests),
            };
            let deliver = |round: usize| {
                let config = format!(
                    "[[sinks.otlp]]\nname = \"{protocol}-{compression}-{round}\"\nendpoint = \"{endpoint}\"\n\
                     protocol = \"{protocol}\"\ncompression = \"{compression}\"\nmetrics = false\n"
                );
                place.deliver(&config, 0)
            };
            let library = if protocol == "grpc" { "tonic" } else { "reqwest" };
            let name = format!("bare {library}, {compression}, requests made beforehand");
            let mut ways = [Way::new(&name), Way::new("outflow, from the store")];
            for round in 1..=ROUNDS {
                ways[0].runs.push(bare()?.stop(place.findings));
                ways[1].runs.push(deliver(round)?);
            }
            compare(&ways, &[]);
        }
    }
    Ok(())
}

/// One core for the collector, the others for us; without a second one all share it.
struct Cores {
    all: CpuSet,
    collector: CpuSet,
    rest: CpuSet,
}

impl Cores {
    fn new() -> Result<Self> {
        let all = sched_getaffinity(None)?;
        let (mut collector, mut rest) = (all, all);
        if all.count() > 1 {
            collector.clear();
            if let Some(core) = (0..CpuSet::MAX_CPU).rfind(|core| all.is_set(*core)) {
                collector.set(core);
                rest.unset(core);
            }
        }
        Ok(Self { all, collector, rest })
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.all);
    }
}

/// tonic writes and compresses the messages.
fn grpc(endpoint: &str, compress: bool, requests: Vec<ExportLogsServiceRequest>) -> Result<Clock> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = Clock::start();
    runtime.block_on(async {
        let mut client = LogsServiceClient::connect(endpoint.to_owned()).await?;
        if compress {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let sending = stream::iter(requests).map(|request| {
            let mut client = client.clone();
            async move {
                let answer = client.export(request).await?.into_inner();
                ensure!(answer.partial_success.is_none_or(|partial| partial.rejected_log_records == 0), "rejected");
                anyhow::Ok(())
            }
        });
        sending.buffered(BATCHES).try_collect::<()>().await
    })?;
    Ok(clock)
}

/// The bodies are there beforehand; reqwest does not compress, so the loop does.
fn http(endpoint: &str, compress: bool, requests: &[ExportLogsServiceRequest]) -> Result<Clock> {
    let bodies: Vec<Vec<u8>> = requests.iter().map(prost::Message::encode_to_vec).collect();
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = Clock::start();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build()?;
        let sending = stream::iter(bodies).map(|body| {
            let post = client.post(format!("{endpoint}/v1/logs")).header("content-type", "application/x-protobuf");
            async move {
                let post =
                    if compress { post.header("content-encoding", "gzip").body(gzip(&body)?) } else { post.body(body) };
                let answer = post.send().await?.error_for_status()?;
                answer.bytes().await?;
                anyhow::Ok(())
            }
        });
        sending.buffered(BATCHES).try_collect::<()>().await
    })?;
    Ok(clock)
}

fn gzip(body: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}
