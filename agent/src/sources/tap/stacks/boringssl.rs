//! BoringSSL and AWS-LC, which are linked into the program or wheel that uses them: with their symbols, plain or with a prefix
//! (`aws_lc_0_39_0_SSL_write`), or without (Bun, grpcio). Enters: a file. Leaves: sites on `SSL_read`, `SSL_write`,
//! `SSL_set_tlsext_host_name` and on the end of the object.
//!
//! Without symbols the functions are found by the signatures of `rules/tls`. `SSL_peek` is then not probed: what it shows comes again
//! in `SSL_read`.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use memchr::memmem;
use outflow_ebpf::wire::{cookie, end, name};

use super::{
    super::placement::{self, Function},
    Binary, Found, Plan, Program, Refusal, Site, Stack, signatures,
};

/// What names the server, the end of the object, and the calls that move plaintext.
const NAME: &str = "SSL_set_tlsext_host_name";
const FREE: &str = "SSL_free";
const READ: &str = "SSL_read";
const WRITE: &str = "SSL_write";
/// Calls that may stand upon the plain ones, and are probed only where they do not: AWS-LC has the `_ex` flavours.
const DERIVED: [(&str, u64, &str); 4] = [
    ("SSL_peek", cookie::READ | cookie::REREAD, READ),
    ("SSL_read_ex", cookie::READ | cookie::EX, READ),
    ("SSL_write_ex", cookie::EX, WRITE),
    ("SSL_peek_ex", cookie::READ | cookie::REREAD | cookie::EX, "SSL_peek"),
];
/// Copies of the library in one file, each with a prefix of its own, that are tapped.
const COPIES_MAX: usize = 8;
/// The name of a source file, which stays in the program with every error that it can raise. OpenSSL's ends in `.c`.
const SOURCE: &[u8] = b"/ssl_lib.cc\0";
/// AWS-LC says its name in the text of its version.
const AWS_LC: &[u8] = b"AWS-LC";

pub(super) fn find(binary: &Binary<'_>) -> Found {
    let prefixes = prefixes(binary);
    if prefixes.is_empty() {
        return stripped(binary);
    }
    let stack = stack(binary);
    let sites = prefixes.iter().flat_map(|prefix| sites(binary, prefix)).collect();
    Some(Ok(Plan { stack, version: None, sites }))
}

fn stack(binary: &Binary<'_>) -> Stack {
    if memmem::find(binary.file(), AWS_LC).is_some() { Stack::AwsLc } else { Stack::BoringSsl }
}

/// What stands before `SSL_write` in the names of each copy of the library that has all that is wanted. OpenSSL, which names
/// servers by `SSL_ctrl`, has not.
fn prefixes<'a>(binary: &Binary<'a>) -> Vec<&'a str> {
    let mut prefixes: Vec<&str> = binary
        .functions()
        .filter_map(|(function, _, _)| function.strip_suffix(WRITE))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('_'))
        .filter(|prefix| [NAME, FREE, READ].iter().all(|name| binary.function(&format!("{prefix}{name}")).is_some()))
        .collect();
    prefixes.sort_unstable();
    prefixes.truncate(COPIES_MAX);
    prefixes
}

fn sites(binary: &Binary<'_>, prefix: &str) -> Vec<Site> {
    let full = |name: &str| format!("{prefix}{name}");
    let ends = [(NAME, Program::Name, name::SECOND), (FREE, Program::Free, end::FIRST)];
    let mut sites: Vec<_> =
        ends.iter().filter_map(|(name, program, cookie)| binary.at_entry(&full(name), *program, *cookie)).collect();
    sites.extend(binary.call(&full(WRITE), 0));
    sites.extend(binary.call(&full(READ), cookie::READ));
    for (name, cookie, plain) in DERIVED {
        let Some(function) = binary.function(&full(name)) else { continue };
        // `SSL_read` may be made of `SSL_peek`, and the `_ex` flavours of the plain ones: a call is counted once.
        let is_one = binary.function(&full(plain)).is_some_and(|plain| {
            calls(binary, function, plain.address) || (plain.address != function.address && calls(binary, plain, function.address))
        });
        if !is_one {
            sites.extend(binary.call(&full(name), cookie));
        }
    }
    sites
}

/// Whether a function calls another, or goes on as it.
fn calls(binary: &Binary<'_>, function: Function<'_>, callee: u64) -> bool {
    let ways = [FlowControl::Call, FlowControl::UnconditionalBranch, FlowControl::ConditionalBranch];
    binary.is_x86_64()
        && Decoder::with_ip(64, function.code, function.address, DecoderOptions::NONE)
            .iter()
            .any(|instruction| ways.contains(&instruction.flow_control()) && instruction.near_branch_target() == callee)
}

fn stripped(binary: &Binary<'_>) -> Found {
    memmem::find(binary.file(), SOURCE)?;
    let stack = stack(binary);
    let refuse = |why: String| Some(Err(Refusal { stack, why: format!("it is in the file without symbols, and {why}") }));
    if !binary.is_x86_64() {
        return refuse("signatures are for x86-64".to_owned());
    }
    match signatures::locate(binary, "boringssl", &[NAME, FREE, WRITE, READ]) {
        Err(why) => refuse(why),
        Ok(located) => {
            let [name, free, write, read] = located.as_slice() else { return refuse("a function is missing".to_owned()) };
            let entry = |function: &str, at: Function<'_>, program, cookie| {
                binary.site(function, at, placement::entry(at, &placement::C_ARGUMENTS), program, cookie)
            };
            let mut sites: Vec<_> = [
                entry(NAME, name.function, Program::Name, name::SECOND),
                entry(FREE, free.function, Program::Free, end::FIRST),
            ]
            .into_iter()
            .flatten()
            .collect();
            sites.extend(binary.call_of(WRITE, write.function, 0));
            sites.extend(binary.call_of(READ, read.function, cookie::READ));
            Some(Ok(Plan { stack, version: None, sites }))
        }
    }
}
