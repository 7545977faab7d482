//! OpenSSL 1.1 and 3, shared or linked into a program with its symbols (Node). Enters: a file. Leaves: sites on the functions of
//! ssl(7) that move plaintext, on `SSL_ctrl`, by which a client names its server, and on `SSL_free`.

use outflow_ebpf::wire::{cookie, end, name};

use super::{
    super::placement::{self, Function, Leave},
    Binary, Found, Plan, Program, Refusal, Site, Stack,
};

/// Without these there is nothing to see.
const WANTED: [&str; 4] = ["SSL_write", "SSL_read", "SSL_ctrl", "SSL_free"];
/// Calls that move plaintext; the flavours of one call together, the one with the most arguments last. The `_ex` flavours came with
/// 1.1.1, `SSL_write_ex2` with 3.3: a file may lack them.
const CALLS: [&[(&str, u64)]; 6] = [
    &[("SSL_write", 0), ("SSL_write_ex", cookie::EX), ("SSL_write_ex2", cookie::EX2)],
    &[("SSL_read", cookie::READ), ("SSL_read_ex", cookie::READ | cookie::EX)],
    &[("SSL_write_early_data", cookie::EX)],
    &[("SSL_read_early_data", cookie::READ | cookie::EX)],
    &[("SSL_peek", cookie::READ | cookie::REREAD), ("SSL_peek_ex", cookie::READ | cookie::REREAD | cookie::EX)],
    &[("SSL_sendfile", cookie::UNCOVERED | cookie::WIDE)],
];

/// How a client learns why the server's certificate did not pass. Python, curl and Node ask when a handshake has failed.
pub(super) const VERIFIED: (&str, u64) = ("SSL_get_verify_result", cookie::VERIFIED | cookie::WIDE | cookie::KNOWN);

pub(super) fn find(binary: &Binary<'_>) -> Found {
    // Its relatives name servers by a function of their own, and have no `SSL_ctrl`.
    binary.function("SSL_write").and(binary.function("SSL_ctrl"))?;
    let missing = WANTED.iter().find(|name| binary.function(name).is_none());
    Some(match missing {
        None => Ok(plan(binary)),
        Some(name) => Err(Refusal { stack: Stack::OpenSsl, why: format!("it has SSL_write but no {name}") }),
    })
}

fn plan(binary: &Binary<'_>) -> Plan {
    let names = [("SSL_ctrl", Program::Name, name::CTRL), ("SSL_free", Program::Free, end::FIRST)];
    let mut sites: Vec<_> =
        names.iter().filter_map(|(function, program, cookie)| binary.at_entry(function, *program, *cookie)).collect();
    for flavours in CALLS {
        match shared(binary, flavours) {
            Some(inner) => sites.extend(inner),
            None => sites.extend(flavours.iter().flat_map(|(function, cookie)| binary.call(function, *cookie))),
        }
    }
    sites.extend(binary.call(VERIFIED.0, VERIFIED.1));
    Plan { stack: Stack::OpenSsl, version: version(binary), sites }
}

/// Entry and return of the function by which all flavours of a call do their work. The return of an `_ex` flavour can be seen for a
/// small price only there, and a plain call passes it too: with sites of its own it would pay twice. Calls through a `BIO_f_ssl`, which
/// none of the flavours sees, pass it as well. `None` unless every flavour surely does.
fn shared(binary: &Binary<'_>, flavours: &[(&str, u64)]) -> Option<[Site; 2]> {
    if !binary.is_x86_64() {
        return None;
    }
    let here: Vec<_> =
        flavours.iter().filter_map(|(name, cookie)| Some((*name, *cookie, binary.function(name)?))).collect();
    let (_, cookie, wrapper) = here.iter().rfind(|(_, cookie, _)| cookie & (cookie::EX | cookie::EX2) != 0)?;
    let Leave::Return(at) = placement::leave(*wrapper, |address| binary.code(address, 32)) else { return None };
    // Its own entry is not that of another function.
    if at.checked_sub(wrapper.address).is_some_and(|inside| inside < wrapper.code.len() as u64) {
        return None;
    }
    // The site may stand behind an `endbr64` of four bytes. A flavour may also go through another one.
    let ways: Vec<u64> = [at, at - 4].into_iter().chain(here.iter().map(|(_, _, function)| function.address)).collect();
    let goes_there = |function: &Function<'_>| {
        placement::decode(*function)
            .iter()
            .any(|instruction| ways.contains(&instruction.near_branch_target()) && instruction.ip() != function.address)
    };
    if here.len() < 2 || !here.iter().all(|(_, _, function)| goes_there(function)) {
        return None;
    }
    let names = here.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    let inner = binary.function_at(at, 16)?;
    Some([
        binary.site(&names, inner, at, Program::Enter, *cookie)?,
        binary.site(&names, inner, at, Program::LeaveReturn, *cookie)?,
    ])
}

/// As `OPENSSL_VERSION_TEXT` has it, where the part of OpenSSL that holds it is in the file.
fn version(binary: &Binary<'_>) -> Option<String> {
    const BEFORE: &[u8] = b"OpenSSL ";
    let finder = memchr::memmem::Finder::new(BEFORE);
    finder.find_iter(binary.file()).find_map(|at| {
        let rest = binary.file().get(at + BEFORE.len()..)?;
        let text = rest.split(|byte| matches!(byte, b' ' | 0)).next().filter(|text| text.len() <= 24)?;
        let is_version = text.first().is_some_and(u8::is_ascii_digit) && text.contains(&b'.');
        is_version.then(|| String::from_utf8_lossy(text).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian's own libssl, read as a file; nothing is attached.
    const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

    #[test]
    fn each_call_of_the_system_library_has_an_entry_and_a_return_that_are_not_single_stepped() {
        let Ok(file) = std::fs::read(SYSTEM) else {
            println!("skipped: no {SYSTEM} here");
            return;
        };
        let plan = find(&Binary::parse(&file).unwrap()).unwrap().unwrap();
        let flavours = CALLS.into_iter().flatten().map(|(name, _)| *name).filter(|name| *name != "SSL_write_ex2");
        for name in flavours {
            let here = plan.sites.iter().filter(|site| site.function.split(", ").any(|function| function == name));
            let programs: Vec<_> = here.map(|site| site.program).collect();
            assert!(programs.contains(&Program::Enter), "{name}: {programs:?}");
            assert!(programs.iter().any(|program| matches!(program, Program::Leave | Program::LeaveReturn)), "{name}");
        }
        for site in &plan.sites {
            assert!((site.offset as usize) < file.len());
            let is_busy = ["SSL_write", "SSL_read"].iter().any(|call| site.function.starts_with(call));
            let is_busy = is_busy && !site.function.contains("early");
            assert!(site.placed.emulated || !is_busy, "{site:?}");
        }
    }
}
