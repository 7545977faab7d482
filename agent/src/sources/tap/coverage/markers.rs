//! Which TLS stack is in a file that nothing of ours can probe. Enters: a file, as bytes. Leaves: a name for people. It looks for
//! texts that compilers leave in such programs; what it says is a hint, and nothing is probed by it.

use std::{
    io::{self, Read},
    path::Path,
    sync::OnceLock,
};

use regex::bytes::Regex;

/// Bytes that are looked through, at most: the largest runtimes have some 200 MiB.
const FILE_MAX_BYTES: u64 = 512 << 20;
/// Bytes that are looked through at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Libraries whose name says it. A name is a start: `libjvm.so`, `libmbedtls.so.14`.
const NAMES: [(&str, &str); 8] = [
    ("libjvm.so", "Java (JSSE), which compiles its TLS while it runs, out of reach of probes"),
    ("libart.so", "Android's Java, out of reach of probes"),
    ("beam.smp", "Erlang's own TLS, written in Erlang, out of reach of probes"),
    ("libmbedtls.so", "Mbed TLS"),
    ("libwolfssl.so", "wolfSSL"),
    ("libs2n.so", "s2n-tls"),
    ("libnetty_tcnative", "netty-tcnative"),
    ("libconscrypt", "Conscrypt (BoringSSL)"),
];

/// Texts, the surest first. Names of functions that others import are none of them: they stand in every program that only uses the
/// library.
const TEXTS: [(&str, &str); 9] = [
    // Paths in panic messages: cargo unpacks each crate into a folder with its version.
    ("/rustls-0.", "rustls"),
    // Names of functions stay in .gopclntab also when the symbols are stripped (cmd/link, pclntab).
    ("crypto/tls.(*Conn).Write", "Go crypto/tls"),
    // The head of each error text of BoringSSL and of AWS-LC (crypto/err/err.c of both).
    (":OPENSSL_internal:", "BoringSSL or AWS-LC"),
    // OPENSSL_FILE in error records, of libssl alone.
    ("ssl/statem/statem", "OpenSSL"),
    // _S2N_DEBUG_LINE of utils/s2n_safety.h.
    ("s2n_handshake_io.c:", "s2n-tls"),
    // __FILE__ in debug messages (MBEDTLS_DEBUG_C, on by default).
    ("library/ssl_tls.c", "Mbed TLS"),
    // An error of std.crypto.tls.Client; its name is kept in the program.
    ("TlsInitializationFailed", "Zig's own TLS"),
    // Every TLS 1.3 derives its keys from this label (RFC 8446, section 7.1) ...
    ("c hs traffic", UNKNOWN),
    // ... and every TLS 1.2 its end of the handshake from this one (RFC 5246, section 7.4.9).
    ("client finished", UNKNOWN),
];

const UNKNOWN: &str = "a TLS library that is not known";

/// Longest of them, less one: what the start of one may lie before the end of a block.
const CARRY_BYTES: usize = 32;

/// The stack in a file of this name.
pub(super) fn by_name(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    NAMES.iter().find(|(start, _)| name.starts_with(start)).map(|(_, stack)| *stack)
}

/// The stack in a file of these bytes.
pub(super) fn by_content(file: impl Read) -> io::Result<Option<&'static str>> {
    let Some(texts) = texts() else { return Ok(None) };
    let mut file = file.take(FILE_MAX_BYTES);
    let mut block = vec![0; CARRY_BYTES + BLOCK_BYTES];
    let (mut kept, mut best) = (0, TEXTS.len());
    loop {
        let read = match file.read(block.get_mut(kept..).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(TEXTS.get(best).map(|(_, stack)| *stack));
        }
        let filled = kept + read;
        for found in texts.find_iter(block.get(..filled).unwrap_or_default()) {
            let rank = TEXTS.iter().position(|(text, _)| text.as_bytes() == found.as_bytes());
            best = best.min(rank.unwrap_or(TEXTS.len()));
        }
        if best == 0 {
            return Ok(TEXTS.first().map(|(_, stack)| *stack));
        }
        kept = filled.min(CARRY_BYTES);
        block.copy_within(filled - kept..filled, 0);
    }
}

/// All texts in one pass.
fn texts() -> Option<&'static Regex> {
    static MADE: OnceLock<Option<Regex>> = OnceLock::new();
    let make = || Regex::new(&TEXTS.map(|(text, _)| regex::escape(text)).join("|")).ok();
    MADE.get_or_init(make).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_wherever_they_lie() {
        assert!(texts().is_some());
        assert!(TEXTS.iter().all(|(text, _)| (8..=CARRY_BYTES).contains(&text.len())));
        let with = |texts: &[&str], before: usize| {
            let mut bytes = vec![b'x'; before];
            for text in texts {
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(0);
            }
            by_content(&bytes[..]).unwrap()
        };
        for (text, stack) in TEXTS {
            for before in [0, 7, BLOCK_BYTES - 5, BLOCK_BYTES + CARRY_BYTES - 3, 3 * BLOCK_BYTES] {
                assert_eq!(with(&[text], before), Some(stack), "{text} at {before}");
            }
        }
        assert_eq!(with(&["c hs traffic", "/rustls-0.23.36/src/conn.rs"], 3), Some("rustls"));
        assert_eq!(with(&["SSL_write", "gnutls_handshake"], 3), None);
        assert_eq!(with(&[], 0), None);
    }

    #[test]
    fn names_are_read_from_their_start() {
        for (path, known) in [
            ("/usr/lib/jvm/java-17/lib/server/libjvm.so", true),
            ("/usr/lib/libmbedtls.so.14", true),
            ("/tmp/libnetty_tcnative_linux_x86_641234.so", true),
            ("/usr/lib/erlang/erts-13.1.5/bin/beam.smp", true),
            ("/usr/lib/libssl.so.3", false),
            ("/opt/xlibjvm.so", false),
            ("/", false),
        ] {
            assert_eq!(by_name(Path::new(path)).is_some(), known, "{path}");
        }
    }

    /// A system's libraries: those that are TLS libraries, and those that only use one.
    #[test]
    fn real_libraries_are_told_apart() {
        let folder = Path::new("/usr/lib/x86_64-linux-gnu");
        let mut looked_at = 0;
        for (library, expected) in [
            ("libssl.so.3", Some("OpenSSL")),
            ("libgnutls.so.30", Some(UNKNOWN)),
            ("libc.so.6", None),
            ("libcrypto.so.3", None),
            ("libcurl.so.4", None),
            ("libcurl-gnutls.so.4", None),
        ] {
            let Ok(file) = std::fs::File::open(folder.join(library)) else { continue };
            looked_at += 1;
            assert_eq!(by_content(file).unwrap(), expected, "{library}");
        }
        if looked_at == 0 {
            println!("skipped: no libraries in {}", folder.display());
        }
    }
}
