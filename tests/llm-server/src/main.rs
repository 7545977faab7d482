//! The command line of the test server: serve, or run a command in a sandbox where the vendors' names lead to us.

use std::{
    ffi::OsString,
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use llm_server::{DEFAULT_NAMES, Options, Server, sandbox};
use serde_json::json;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

/// Answers as OpenAI and Anthropic do, on the loopback, with a certificate that only its own CA file vouches for
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Mode>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:443")]
    listen: SocketAddr,
    /// Host names to stand for
    #[arg(long, value_delimiter = ',', default_values = DEFAULT_NAMES)]
    names: Vec<String>,
    /// Where to write the CA certificate (PEM)
    #[arg(long, default_value = "ca.pem")]
    ca_out: PathBuf,
    /// Folder for the plain bytes of every connection
    #[arg(long)]
    journal: Option<PathBuf>,
    /// File to write one JSON line to when listening; it appears whole or not at all
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Speak HTTP/2 to clients that can
    #[arg(long)]
    http2: bool,
    /// End when standard input is closed
    #[arg(long)]
    until_stdin_closes: bool,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Runs a command in its own network, where the names lead to this server (needs root)
    Sandbox(Sandbox),
    /// Ties a command to its parent's life and becomes it
    #[command(hide = true)]
    Tied {
        #[arg(long)]
        parent: u32,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct Sandbox {
    /// Host names that lead to the server
    #[arg(long, value_delimiter = ',', default_values = DEFAULT_NAMES)]
    names: Vec<String>,
    /// Folder for the plain bytes of every connection
    #[arg(long)]
    journal: Option<PathBuf>,
    /// Folder for the CA and hosts files, made if missing and not removed; default: a temporary one
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Speak HTTP/2 to clients that can
    #[arg(long)]
    http2: bool,
    /// NAME=VALUE for the command alone; may be repeated
    #[arg(long = "env", value_parser = variable)]
    env: Vec<(OsString, OsString)>,
    /// Set by the outer step: the namespaces that were left
    #[arg(long, hide = true)]
    outside: Option<String>,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn variable(text: &str) -> Result<(OsString, OsString), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("not NAME=VALUE")?;
    Ok((name.into(), value.into()))
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        None => Runtime::new()?.block_on(serve(cli.serve)),
        Some(Mode::Tied { parent, command }) => Err(sandbox::tied(parent, &command).into()),
        Some(Mode::Sandbox(Sandbox { outside: None, .. })) => {
            let mut again: Vec<OsString> = vec!["sandbox".into(), "--outside".into(), sandbox::namespaces()?.into()];
            again.extend(std::env::args_os().skip(2));
            Err(sandbox::enter(&again).into())
        }
        Some(Mode::Sandbox(Sandbox { names, journal, dir, http2, env, outside: Some(outside), command })) => {
            let plan = sandbox::Plan { names, journal, dir, http2, env, command };
            let status = Runtime::new()?.block_on(sandbox::run(plan, &outside))?;
            Ok(sandbox::exit_code(status).into())
        }
    }
}

async fn serve(args: Serve) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let options = Options {
        listen: args.listen,
        names: args.names,
        ca_out: args.ca_out,
        journal: args.journal,
        http2: args.http2,
    };
    let running = Server::start(options).await?;
    let ready = json!({"port": running.addr.port(), "ca": running.ca_path, "pid": std::process::id()}).to_string();
    if let Some(path) = &args.ready_file {
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, format!("{ready}\n"))
            .and_then(|()| std::fs::rename(&unfinished, path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{ready}")?;
        out.flush()?;
    }
    let (closed, stdin_closed) = tokio::sync::oneshot::channel();
    if args.until_stdin_closes {
        // A thread and not tokio's stdin: a blocked read must not hold the runtime's end up.
        std::thread::spawn(move || {
            let _end = std::io::copy(&mut std::io::stdin().lock().by_ref(), &mut std::io::sink());
            let _gone = closed.send(());
        });
    }
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        Ok(()) = stdin_closed => {}
    }
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}
