//! Running commands. Enters: a command. Leaves: what it said, or an error that names it. It never hides a failing status.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// The folder of the workspace, as cargo says when it runs us. Not what was compiled in: two checkouts that share a target
/// directory share this binary as well, and a check of the wrong one finds nothing.
pub(crate) fn workspace() -> &'static Path {
    static WORKSPACE: LazyLock<PathBuf> = LazyLock::new(|| {
        let own = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        own.parent().map_or_else(|| own.clone(), Path::to_owned)
    });
    &WORKSPACE
}

/// Where the outer cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"]
        .iter()
        .find_map(env::var_os)
        .map_or_else(|| workspace().join("target"), |folder| workspace().join(folder))
}

/// The cargo that started us, in the workspace.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).arg(subcommand);
    command
}

/// Builds every program of the workspace. Always all of them: for one alone cargo chooses other features of what it depends on, and then
/// everything is built twice. In CI with the tests, which choose other features again and are built there anyway.
pub(crate) fn build_programs() -> Result<()> {
    let tests: &[&str] = if is_ci() { &["--tests"] } else { &[] };
    run(cargo("build").args(["--workspace", "--bins"]).args(tests))
}

/// A command in the workspace.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace());
    command
}

/// Says the command, runs it with our own standard streams, and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = say(command);
    let status = command.status().with_context(|| format!("cannot start: {line}"))?;
    if !status.success() {
        bail!("{status}: {line}");
    }
    Ok(())
}

/// What the command prints, `None` when it cannot be started or fails.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Prints the command as a person would type it.
pub(crate) fn say(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    eprintln!("$ {line}");
    line
}

/// Is there such a program?
pub(crate) fn on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// CI answers no questions.
pub(crate) fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Measures how long a step takes.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a step's duration, for people; nothing of the agent depends on it")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn minutes(&self) -> f64 {
        self.0.elapsed().as_secs_f64() / 60.0
    }
}
