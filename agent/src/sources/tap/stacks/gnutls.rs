//! GnuTLS (wget, Debian's git and its other libcurl, glib-networking). Enters: a file. Leaves: sites on the functions of its record
//! layer, on `gnutls_server_name_set`, and on `gnutls_deinit`.
//!
//! Not seen: what a caller sends again with no buffer (`gnutls_record_send(session, NULL, 0)` after `GNUTLS_E_AGAIN`) is counted as
//! not in memory; what it takes as a packet is counted as uncovered.

use outflow_ebpf::wire::{cookie, end, name};

use super::{Binary, Found, Plan, Program, Refusal, Stack};

/// All return `ssize_t`. `gnutls_record_send_file` sends by `gnutls_record_send`, so it needs no probe.
const CALLS: [(&str, u64); 6] = [
    ("gnutls_record_send", cookie::WIDE),
    ("gnutls_record_send2", cookie::WIDE),
    ("gnutls_record_send_range", cookie::WIDE),
    ("gnutls_record_recv", cookie::READ | cookie::WIDE),
    ("gnutls_record_recv_seq", cookie::READ | cookie::WIDE),
    ("gnutls_record_recv_packet", cookie::READ | cookie::WIDE | cookie::UNCOVERED),
];

pub(super) fn find(binary: &Binary<'_>) -> Found {
    binary.function("gnutls_record_send")?;
    let wanted = ["gnutls_record_recv", "gnutls_server_name_set", "gnutls_deinit"];
    Some(match wanted.iter().find(|name| binary.function(name).is_none()) {
        None => Ok(plan(binary)),
        Some(name) => Err(Refusal { stack: Stack::GnuTls, why: format!("it has gnutls_record_send but no {name}") }),
    })
}

fn plan(binary: &Binary<'_>) -> Plan {
    let names =
        [("gnutls_server_name_set", Program::Name, name::COUNTED), ("gnutls_deinit", Program::Free, end::FIRST)];
    let mut sites: Vec<_> =
        names.iter().filter_map(|(function, program, cookie)| binary.at_entry(function, *program, *cookie)).collect();
    sites.extend(CALLS.iter().flat_map(|(function, cookie)| binary.call(function, *cookie)));
    Plan { stack: Stack::GnuTls, version: None, sites }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_library_has_all_of_it() {
        const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";
        let Ok(file) = std::fs::read(SYSTEM) else {
            println!("skipped: no {SYSTEM} here");
            return;
        };
        let plan = find(&Binary::parse(&file).unwrap()).unwrap().unwrap();
        for (name, _) in CALLS {
            let sites = plan.sites.iter().filter(|site| site.function == name).count();
            assert!(sites >= 2, "{name} has {sites}");
        }
    }
}
