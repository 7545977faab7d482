//! PEM private keys: the body is base64 of a size that a key has. Source: RFC 7468 (labels and encoding), RFC 1421 (headers of
//! encrypted keys), PROTOCOL.key of OpenSSH.

use super::super::{Text, Verdict};

/// The smallest real body: an Ed25519 key in PKCS #8 is 48 bytes, 64 characters.
const MIN_BODY: usize = 60;

/// The secret is the whole block, with real line ends or with `\n` escaped once or more.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    // Behind the first line's dashes, up to the dashes of the last line.
    let Some(body_start) = find(secret, b"KEY").and_then(|at| Some(at + find(secret.get(at..)?, b"-----")? + 5)) else {
        return Verdict::Refused;
    };
    let body = secret.get(body_start..).unwrap_or_default();
    let body = body.get(..find(body, b"-----END").unwrap_or(body.len())).unwrap_or_default();
    let (mut characters, mut odd, mut escaped) = (0_usize, 0_usize, false);
    let mut seen = [false; 256];
    for byte in body {
        // `\n` and `\r` as two characters; the letter belongs to the escape.
        if std::mem::replace(&mut escaped, *byte == b'\\') && matches!(byte, b'n' | b'r') {
            continue;
        }
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' => {
                characters += 1;
                seen[usize::from(*byte)] = true;
            }
            b'\n' | b'\r' | b' ' | b'\t' | b'\\' | b'"' | b'>' => {}
            _ => odd += 1,
        }
    }
    let variety = seen.iter().filter(|seen| **seen).count();
    // `Proc-Type: 4,ENCRYPTED` and `DEK-Info:` lines bring a few odd characters, prose and `...` many.
    Verdict::proven_if(characters >= MIN_BODY && variety >= 16 && odd * 10 <= characters)
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, word)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn the_body_must_look_like_a_key() {
        let body = "MC4CAQAwBQYDK2VwBCIEIOutflowExampleKeyNotRealAtAll0123456789abcdefgh";
        for (end, expected) in [("\n", Verdict::Proven), ("\\n", Verdict::Proven), ("\\\\n", Verdict::Proven)] {
            let key = format!("-----BEGIN PRIVATE KEY-----{end}{body}{end}-----END PRIVATE KEY-----");
            assert_eq!(verdict(validate, &key), expected, "{key}");
        }
        for bad in [
            "...",
            "your key goes here",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ] {
            let key = format!("-----BEGIN PRIVATE KEY-----\n{bad}\n-----END PRIVATE KEY-----");
            assert_eq!(verdict(validate, &key), Verdict::Refused, "{key}");
        }
    }
}
