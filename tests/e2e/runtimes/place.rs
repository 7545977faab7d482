//! Where one client runs. Enters: the row's id. Leaves: a bench, the fetched clients, the three bodies that every client sends, and copies of
//! whatever the tap may probe.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::json;
use testbed::{Age, Bench, Clients, private_copy, private_libraries, private_tree};

use crate::support;

/// Where every client of the HTTP kind sends to.
pub(super) const URL: &str = "https://api.openai.com/v1/chat/completions";

pub(super) struct Place {
    pub(super) bench: Bench,
    pub(super) clients: Clients,
    /// A chat of a kilobyte, one of a megabyte, one that wants its answer as a stream.
    pub(super) bodies: Vec<PathBuf>,
}

impl Place {
    pub(super) fn new(id: &str) -> Self {
        let bench = support::bench(id);
        let clients = Clients::find(&support::target()).expect("the clients that the test starts");
        let body = |name: &str, size: usize, stream: bool| {
            let path = bench.dir().join(name);
            fs::write(&path, chat(size, stream)).unwrap();
            path
        };
        let bodies = vec![
            body("small.json", 1 << 10, false),
            body("big.json", 1 << 20, false),
            body("stream.json", 1 << 10, true),
        ];
        Self { bench, clients, bodies }
    }

    /// The source of a client.
    pub(super) fn source(name: &str) -> PathBuf {
        testbed::workspace().join("tests/e2e/clients").join(name)
    }

    /// Copies a program; the copy may be probed.
    pub(super) fn program(&self, program: &Path) -> PathBuf {
        private_copy(program, &self.bench.dir().join("bin")).unwrap()
    }

    /// Copies the TLS libraries that a program or library links to where the sandbox's commands look first; the copies whose names begin
    /// so are given back.
    pub(super) fn libraries(&self, object: &Path, names: &[&str]) -> Vec<PathBuf> {
        let copies = private_libraries(object, &self.bench.tls.dir).unwrap();
        let wanted = |copy: &PathBuf| {
            let name = copy.file_name().unwrap_or_default().to_string_lossy();
            names.iter().any(|wanted| name.starts_with(wanted))
        };
        copies.into_iter().filter(wanted).collect()
    }

    /// Copies the packages of the fetched wheels whose names begin so into a folder for `PYTHONPATH`, with the libraries that come with
    /// them.
    pub(super) fn wheel(&self, names: &[&str], age: Age) -> PathBuf {
        let copies = self.bench.dir().join("wheels");
        fs::create_dir_all(&copies).unwrap();
        for entry in fs::read_dir(self.clients.wheels(age)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if !names.iter().any(|wanted| name.to_string_lossy().starts_with(wanted)) {
                continue;
            }
            if entry.path().is_dir() {
                private_tree(&entry.path(), &copies.join(name)).unwrap();
            } else {
                private_copy(&entry.path(), &copies).unwrap();
            }
        }
        copies
    }

    /// The client on one of libcurl's libraries, compiled here.
    pub(super) fn curl_easy(&self, library: &Path) -> PathBuf {
        let program = self.bench.dir().join("bin/curl_easy");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(Self::source("curl_easy.c")).arg(library);
        let output = compiler.stdin(Stdio::null()).output().expect("a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    }

    /// `parts`, then the bodies.
    pub(super) fn with_bodies(&self, parts: &[&dyn AsRef<std::ffi::OsStr>]) -> Vec<OsString> {
        let bodies = self.bodies.iter().map(|body| body.clone().into_os_string());
        parts.iter().map(|part| part.as_ref().to_owned()).chain(bodies).collect()
    }
}

/// A chat request of exactly `size` bytes in which no two lines are the same.
fn chat(size: usize, stream: bool) -> String {
    let request = |content: &str| {
        let mut request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]});
        if stream {
            request["stream"] = true.into();
        }
        request.to_string()
    };
    let room = size - request("").len();
    let mut content = "one line more; ".repeat(room / 15 + 1);
    content.truncate(room);
    request(&content)
}

/// A library of the system by its name, as the loader would find it.
pub(super) fn system_library(name: &str) -> Option<PathBuf> {
    let listed = Command::new("/sbin/ldconfig").arg("-p").stdin(Stdio::null()).output().ok()?;
    // libcurl-gnutls.so.4 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcurl-gnutls.so.4
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let line = listed.lines().find(|line| line.trim_start().starts_with(&format!("{name} ")))?;
    line.split_once(" => ").map(|(_, path)| PathBuf::from(path.trim()))
}

/// A program of the system.
pub(super) fn system_program(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin", "/usr/local/bin"].iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}
