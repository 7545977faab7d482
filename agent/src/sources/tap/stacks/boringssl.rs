//! BoringSSL and AWS-LC, which are linked into the program or wheel that uses them: with their symbols, plain or with a prefix
//! (`aws_lc_0_39_0_SSL_write`), or without (Bun, grpcio). Enters: a file. Leaves: sites on `SSL_read`, `SSL_write`,
//! `SSL_set_tlsext_host_name` and on the end of the object.
//!
//! Without symbols the functions are found by the signatures of `rules/tls`. `SSL_peek` is then not probed: what it shows comes again
//! in `SSL_read`.

use std::iter;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use memchr::memmem;
use object::{
    Endianness, Object as _, ObjectSymbol as _, ObjectSymbolTable as _, RelocationTarget, read::elf::ElfFile64,
};
use outflow_ebpf::wire::{cookie, end, name};

use super::{
    super::placement::{self, Function},
    Binary, Found, Plan, Program, Refusal, Site, Stack,
    openssl::VERIFIED,
    signatures,
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
/// AWS-LC says its name in the text of its version, `AWS-LC 5.12.0`. BoringSSL has none.
const AWS_LC: &[u8] = b"AWS-LC ";
const BORING_SSL: (Stack, Option<String>) = (Stack::BoringSsl, None);
/// Bytes of a stub that jumps through that table.
const STUB_BYTES: u64 = 16;
/// Longest number of a version.
const VERSION_BYTES_MAX: usize = 16;

pub(super) fn find(binary: &Binary<'_>) -> Found {
    let prefixes = prefixes(binary);
    if prefixes.is_empty() {
        return stripped(binary);
    }
    let (stack, version) = binary.segments().find_map(|(_, bytes)| aws_lc(bytes)).unwrap_or(BORING_SSL);
    let sites = prefixes.iter().flat_map(|prefix| sites(binary, prefix)).collect();
    Some(Ok(Plan { stack, version, sites }))
}

/// AWS-LC, where its version is among the bytes.
fn aws_lc(bytes: &[u8]) -> Option<(Stack, Option<String>)> {
    memmem::find_iter(bytes, AWS_LC).find_map(|at| {
        let rest = bytes.get(at + AWS_LC.len()..)?;
        let is_part = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
        let number: Vec<u8> = rest.iter().take(VERSION_BYTES_MAX).take_while(is_part).copied().collect();
        let number =
            String::from_utf8(number).ok().filter(|number| number.starts_with(|first: char| first.is_ascii_digit()));
        number.map(|number| (Stack::AwsLc, Some(number)))
    })
}

/// What stands before `SSL_write` in the names of each copy of the library that has what is wanted; OpenSSL has `SSL_ctrl` too.
/// A copy without [`NAME`] is in a program that never names a server: its connections are told by their first request.
fn prefixes<'a>(binary: &Binary<'a>) -> Vec<&'a str> {
    let has = |prefix: &str, name: &str| binary.function(&format!("{prefix}{name}")).is_some();
    let mut prefixes: Vec<&str> = binary
        .functions()
        .filter_map(|(function, _, _)| function.strip_suffix(WRITE))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('_'))
        .filter(|prefix| has(prefix, READ) && has(prefix, FREE) && !has(prefix, "SSL_ctrl"))
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
    sites.extend(binary.call(&full(VERIFIED.0), VERIFIED.1));
    for (name, cookie, plain) in DERIVED {
        let (name, plain) = (full(name), full(plain));
        let Some(function) = binary.function(&name) else { continue };
        // `SSL_read` may be made of `SSL_peek`, and the `_ex` flavours of the plain ones: a call is counted once.
        let is_one =
            calls(binary, function, &plain) || binary.function(&plain).is_some_and(|plain| calls(binary, plain, &name));
        if !is_one {
            sites.extend(binary.call(&name, cookie));
        }
    }
    sites
}

/// Whether a function calls another, or goes on as it: straight, or through the table by which shared libraries call even their own.
fn calls(binary: &Binary<'_>, function: Function<'_>, name: &str) -> bool {
    let Some(callee) = binary.function(name).filter(|_| binary.is_x86_64()) else { return false };
    decoded(function.code, function.address).any(|instruction| match instruction.flow_control() {
        FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
            let target = instruction.near_branch_target();
            let stub =
                || binary.code(target, STUB_BYTES).and_then(|code| decoded(code, target).find_map(|next| slot(&next)));
            let is_outside = target.wrapping_sub(function.address) >= function.code.len() as u64;
            target == callee.address || (is_outside && stub().is_some_and(|slot| is_slot_of(binary, slot, name)))
        }
        _ => slot(&instruction).is_some_and(|slot| is_slot_of(binary, slot, name)),
    })
}

fn decoded(code: &[u8], address: u64) -> impl Iterator<Item = Instruction> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
}

/// Where the address lies to which an instruction jumps, or which it calls.
fn slot(instruction: &Instruction) -> Option<u64> {
    let is_indirect = matches!(instruction.flow_control(), FlowControl::IndirectBranch | FlowControl::IndirectCall);
    (is_indirect && instruction.is_ip_rel_memory_operand()).then(|| instruction.ip_rel_memory_address())
}

/// The loader puts the address of `name` there.
fn is_slot_of(binary: &Binary<'_>, slot: u64, name: &str) -> bool {
    let Ok(elf) = ElfFile64::<Endianness>::parse(binary.file()) else { return false };
    let mut relocations = elf.dynamic_relocations().into_iter().flatten();
    let symbol = relocations.find_map(|(at, relocation)| match relocation.target() {
        RelocationTarget::Symbol(index) if at == slot => elf.dynamic_symbol_table()?.symbol_by_index(index).ok(),
        _ => None,
    });
    symbol.is_some_and(|symbol| symbol.name() == Ok(name))
}

fn stripped(binary: &Binary<'_>) -> Found {
    // The version is text too, and lies with the other.
    let (_, texts) = binary.segments().find(|(_, bytes)| memmem::find(bytes, SOURCE).is_some())?;
    let (stack, version) = aws_lc(texts).unwrap_or(BORING_SSL);
    Some(if binary.is_x86_64() {
        by_signature(binary).map(|sites| Plan { stack, version, sites })
    } else {
        Err("signatures are for x86-64".to_owned())
    })
    .map(|found| found.map_err(|why| Refusal { stack, why: format!("it is in the file without symbols, and {why}") }))
}

fn by_signature(binary: &Binary<'_>) -> Result<Vec<Site>, String> {
    let mut sites = Vec::new();
    for at in signatures::locate(binary, "boringssl", &[NAME, FREE, WRITE, READ])? {
        // People see by what it was found.
        let shown = format!("{} ({})", at.name, at.signature);
        let entry = |program, cookie| {
            let entry = placement::entry(at.function, &placement::C_ARGUMENTS);
            binary.site(&shown, at.function, entry, program, cookie)
        };
        match at.name {
            NAME => sites.extend(entry(Program::Name, name::SECOND)),
            FREE => sites.extend(entry(Program::Free, end::FIRST)),
            WRITE => sites.extend(binary.call_of(&shown, at.function, 0)),
            _ => sites.extend(binary.call_of(&shown, at.function, cookie::READ)),
        }
    }
    Ok(sites)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// What make-clients.sh fetched, and what OUTFLOW_TLS_BINARIES names (with `:` between them): files that carry it stripped.
    fn binaries() -> Vec<PathBuf> {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
        let grpc = clients.join("new/grpc/_cython");
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(grpc).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "so"));
        files.push(clients.join("npm/node_modules/@oven/bun-linux-x64/bin/bun"));
        files.retain(|path| path.exists());
        let named = std::env::var_os("OUTFLOW_TLS_BINARIES").unwrap_or_default();
        files.extend(std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()));
        files
    }

    #[test]
    fn stripped_clients_have_each_function_at_one_place_and_none_is_single_stepped() {
        let files = binaries();
        if files.is_empty() {
            println!(
                "skipped: no client is in target/clients (tests/e2e/make-clients.sh), and OUTFLOW_TLS_BINARIES names none"
            );
        }
        for path in files {
            let file = std::fs::read(&path).unwrap();
            let plan = find(&Binary::parse(&file).unwrap()).expect("it carries BoringSSL").unwrap();
            assert_eq!(plan.stack, Stack::BoringSsl);
            let programs: Vec<_> =
                plan.sites.iter().map(|site| (site.function.split(' ').next(), site.program)).collect();
            for (wanted, program) in
                [(NAME, Program::Name), (FREE, Program::Free), (WRITE, Program::Enter), (READ, Program::Enter)]
            {
                assert_eq!(
                    programs.iter().filter(|found| **found == (Some(wanted), program)).count(),
                    1,
                    "{programs:?}"
                );
            }
            assert!(programs.len() >= 6 && plan.sites.iter().all(|site| site.placed.emulated), "{plan:?}");
            // One byte less of the code that was found, and it is refused instead of guessed.
            for site in plan.sites.iter().filter(|site| site.placed.inside == 0) {
                let mut other = file.clone();
                other[site.offset as usize] ^= 1;
                let refused = find(&Binary::parse(&other).unwrap()).unwrap().unwrap_err();
                assert!(refused.why.contains("fits this build"), "{refused}");
            }
        }
    }

    /// A library of empty functions, made by the C compiler that this workspace needs anyway.
    fn compiled(source: &str) -> Option<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("x.c"), folder.path().join("x.so"));
        std::fs::write(&from, source).unwrap();
        let mut compiler = std::process::Command::new("cc");
        compiler.args(["-O2", "-shared", "-nostdlib", "-fno-stack-protector", "-o"]).arg(&to).arg(&from);
        if compiler.status().is_err() {
            println!("skipped: no C compiler `cc` here");
            return None;
        }
        Some(std::fs::read(to).unwrap())
    }

    #[test]
    fn symbols_may_have_a_prefix_and_a_call_that_stands_upon_another_is_not_probed() {
        let stub = |name: &str, body: &str| format!("__attribute__((noinline)) int {name}(void *s) {{ {body} }}\n");
        let opaque = "int x; __asm__ volatile(\"\" : \"=r\"(x)); return x;";
        let some = stub("SSL_write", opaque) + &stub("SSL_free", opaque) + &stub(NAME, opaque);
        let peeking = stub("SSL_peek", opaque) + &stub("SSL_read", "return SSL_peek(s);");
        let derived = stub("SSL_write_ex", "return SSL_write(s) > 0;") + &stub("SSL_read_ex", opaque);
        let alone = stub("SSL_peek", opaque) + &stub("SSL_read", opaque);
        for (source, expected) in [
            (format!("{some}{peeking}{derived}"), vec![NAME, FREE, WRITE, READ, "SSL_read_ex"]),
            (format!("{some}{alone}"), vec![NAME, FREE, WRITE, READ, "SSL_peek"]),
        ] {
            for (prefix, version) in
                [("", ""), ("aws_lc_0_47_0_", "static const char *const version = \"AWS-LC 5.12.0\";")]
            {
                let source = source.replace("SSL_", &format!("{prefix}SSL_"));
                let kept = "const char *kept(void) { return version; }";
                let source = if version.is_empty() { source } else { format!("{source}{version}\n{kept}\n") };
                let Some(file) = compiled(&source) else { return };
                let plan = find(&Binary::parse(&file).unwrap()).unwrap().unwrap();
                let mut probed: Vec<_> = plan.sites.iter().map(|site| site.function.as_str()).collect();
                probed.dedup();
                assert_eq!(probed, expected.iter().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>());
                let is_aws = !version.is_empty();
                assert_eq!(plan.stack, if is_aws { Stack::AwsLc } else { Stack::BoringSsl });
                assert_eq!(plan.version.as_deref(), is_aws.then_some("5.12.0"));
            }
        }
        // What has `SSL_ctrl` is OpenSSL, and what only sends is nothing.
        for source in [format!("{some}{alone}{}", stub("SSL_ctrl", opaque)), some] {
            let Some(file) = compiled(&source) else { return };
            assert_eq!(find(&Binary::parse(&file).unwrap()), None);
        }
    }

    #[test]
    fn a_program_with_another_stack_or_none_is_left_to_others() {
        for path in ["/bin/sh", "/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/bin/node"] {
            match std::fs::read(path) {
                Ok(file) => assert_eq!(find(&Binary::parse(&file).unwrap()), None, "{path}"),
                Err(_) => println!("skipped: no {path} here"),
            }
        }
    }
}
