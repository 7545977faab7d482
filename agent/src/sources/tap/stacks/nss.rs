//! NSS (Firefox, Thunderbird, Debian's third libcurl). Enters: one of its two libraries. Leaves: sites on NSPR's calls, which carry
//! plaintext into and out of a descriptor that NSS has layered over a socket, and on `SSL_SetURL`, which names the server.
//!
//! NSPR's calls also read and write files: only descriptors that `SSL_SetURL` was called for are looked at, so a connection whose
//! server is not named, or that was opened before the tap, is not seen.

use outflow_ebpf::wire::{cookie, end, name};

use super::{Binary, Found, Plan, Program, Refusal, Stack};

const CALLS: [(&str, u64); 5] = [
    ("PR_Write", cookie::KNOWN),
    ("PR_Send", cookie::KNOWN),
    ("PR_Read", cookie::KNOWN | cookie::READ),
    ("PR_Recv", cookie::KNOWN | cookie::READ),
    ("PR_Writev", cookie::KNOWN | cookie::UNCOVERED),
];

pub(super) fn find(binary: &Binary<'_>) -> Found {
    if binary.function("SSL_SetURL").is_some() && binary.function("SSL_ImportFD").is_some() {
        // libssl3.so
        let sites = binary.at_entry("SSL_SetURL", Program::Name, name::SECOND);
        return Some(Ok(Plan { stack: Stack::Nss, version: None, sites: sites.into_iter().collect() }));
    }
    // libnspr4.so
    binary.function("PR_Write").and(binary.function("PR_GetDescType"))?;
    let wanted = ["PR_Send", "PR_Read", "PR_Recv", "PR_Close"];
    if let Some(name) = wanted.iter().find(|name| binary.function(name).is_none()) {
        return Some(Err(Refusal { stack: Stack::Nss, why: format!("it has PR_Write but no {name}") }));
    }
    let mut sites: Vec<_> = binary.at_entry("PR_Close", Program::Free, end::FIRST).into_iter().collect();
    sites.extend(CALLS.iter().flat_map(|(function, cookie)| binary.call(function, *cookie)));
    Some(Ok(Plan { stack: Stack::Nss, version: None, sites }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_libraries_are_known() {
        for (path, wanted) in [("libssl3.so", "SSL_SetURL"), ("libnspr4.so", "PR_Write")] {
            let path = format!("/usr/lib/x86_64-linux-gnu/{path}");
            let Ok(file) = std::fs::read(&path) else {
                println!("skipped: no {path} here");
                continue;
            };
            let plan = find(&Binary::parse(&file).unwrap()).unwrap().unwrap();
            assert!(plan.sites.iter().any(|site| site.function == wanted), "{plan:?}");
        }
    }
}
