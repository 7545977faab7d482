//! OpenSSL 1.1 and 3, shared or linked into a program with its symbols (Node). Enters: a file. Leaves: sites on the functions of
//! ssl(7) that move plaintext, on `SSL_ctrl`, by which a client names its server, and on `SSL_free`.

use outflow_ebpf::wire::{cookie, end, name};

use super::{Binary, Found, Plan, Program, Refusal, Stack};

/// Without these there is nothing to see.
const WANTED: [&str; 4] = ["SSL_write", "SSL_read", "SSL_ctrl", "SSL_free"];
/// Calls that move plaintext. The `_ex` flavours came with 1.1.1, `SSL_write_ex2` with 3.3: a file may lack them.
const CALLS: [(&str, u64); 10] = [
    ("SSL_write", 0),
    ("SSL_read", cookie::READ),
    ("SSL_write_ex", cookie::EX),
    ("SSL_read_ex", cookie::READ | cookie::EX),
    ("SSL_write_ex2", cookie::EX2),
    ("SSL_write_early_data", cookie::EX),
    ("SSL_read_early_data", cookie::READ | cookie::EX),
    ("SSL_peek", cookie::READ | cookie::REREAD),
    ("SSL_peek_ex", cookie::READ | cookie::REREAD | cookie::EX),
    ("SSL_sendfile", cookie::UNCOVERED | cookie::WIDE),
];

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
    sites.extend(CALLS.iter().flat_map(|(function, cookie)| binary.call(function, *cookie)));
    Plan { stack: Stack::OpenSsl, version: version(binary), sites }
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
        for (name, meaning) in CALLS.into_iter().filter(|(name, _)| *name != "SSL_write_ex2") {
            let here = plan.sites.iter().filter(|site| site.function == name && site.cookie == meaning);
            let programs: Vec<_> = here.map(|site| site.program).collect();
            assert!(programs.contains(&Program::Enter), "{name}: {programs:?}");
            assert!(programs.iter().any(|program| matches!(program, Program::Leave | Program::LeaveReturn)), "{name}");
        }
        for site in &plan.sites {
            assert!((site.offset as usize) < file.len());
            let is_busy = ["SSL_write", "SSL_read", "SSL_write_ex", "SSL_read_ex"].contains(&site.function.as_str());
            assert!(site.placed.emulated || !is_busy, "{site:?}");
        }
    }
}
