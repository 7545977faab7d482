//! Stand-ins: what is written where a secret will be. Enters: a value. Leaves: whether it is a placeholder, a reference to a store, a
//! run of neighbours. Source: the shapes that documentation and templates use.

/// Words that mark a value as a stand-in. Compared without case and without `_`, `-` and spaces.
const PLACEHOLDERS: &[&str] = &[
    "example",
    "changeme",
    "changeit",
    "placeholder",
    "yourpassword",
    "yourapi",
    "yourtoken",
    "yoursecret",
    "yourkey",
    "youraccess",
    "yourauth",
    "yourclient",
    "yourpersonal",
    "mypassword",
    "mysecret",
    "mytoken",
    "myapikey",
    "redacted",
    "insert",
    "replaceme",
    "replacewith",
    "dummy",
    "notarealkey",
    "xxxx",
    "0000000",
    "1111111",
    "****",
    "....",
    "\u{2022}\u{2022}\u{2022}",
    "<your",
    "todo",
    "fixme",
    "undefined",
    "sample",
    "secretkeyhere",
    "keyhere",
    "tokenhere",
];
/// Values that are no secret when they stand alone.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "none",
    "null",
    "true",
    "false",
    "test",
    "admin",
    "root",
    "user",
    "pass",
    "string",
    "changeit",
    "guest",
    "default",
    "required",
    "optional",
    "hidden",
    "empty",
    "nil",
    "required",
    "foobar",
    "hunter2",
    "username",
    "postgres",
    "mysql",
    "redis",
    "mongo",
    "rabbitmq",
    "anonymous",
    "bearer",
    "basic",
    "opensesame",
    "incorrect",
    "invalid",
    "unknown",
    "letmein",
    "welcome",
    "qwerty",
];
/// How a value begins that only says where the secret is kept.
const REFERENCES: &[&str] = &[
    "vault:",
    "arn:",
    "op://",
    "ssm:",
    "file:",
    "env:",
    "secret:",
    "aws:",
    "gcp:",
    "kms:",
    "sops:",
    "projects/",
    "@microsoft",
    "process.env",
    "os.environ",
    "os.getenv",
    "system.getenv",
    "getenv",
    "$env:",
    "env.",
    "env[",
    "config.",
    "settings.",
    "self.",
    "this.",
    "var.",
    "data.",
    "local.",
    "secrets.",
    "module.",
    "!ref",
    "!sub",
    "!vault",
    "ref+",
    "keyvault",
    "enc[",
];

/// A stand-in: `YOUR_API_KEY`, `<token>`, `${SECRET}`, `xxxxxxxx`.
pub(super) fn is_placeholder(text: &[u8]) -> bool {
    let bare: Vec<u8> = text.iter().filter(|byte| !b"_- ".contains(byte)).map(u8::to_ascii_lowercase).collect();
    if WORDS.iter().any(|word| word.as_bytes() == bare) || distinct(&bare) < 3 {
        return true;
    }
    is_template(text) || PLACEHOLDERS.iter().any(|word| memchr::memmem::find(&bare, word.as_bytes()).is_some())
}

/// It is filled in later: `${X}`, `{{ x }}`, `%(x)s`, `<x>`, `$(x)`, `#{x}`.
fn is_template(text: &[u8]) -> bool {
    const OPENINGS: [&[u8]; 5] = [b"{{", b"${", b"$(", b"#{", b"%("];
    // A dollar sign alone begins passwords as well as variables; a variable goes on with a name and nothing else.
    let variable = |rest: &[u8]| rest.iter().all(|byte| byte.is_ascii_uppercase() || b"_0123456789".contains(byte));
    matches!(text, [b'<' | b'[', ..] | [b'%', .., b'%'] | [b'{', .., b'}'])
        || matches!(text, [b'$', rest @ ..] if variable(rest))
        || text.windows(2).any(|two| OPENINGS.contains(&two))
}

/// It says where the secret is: `vault:secret/data/x`, `arn:aws:secretsmanager:…`, `process.env.X`, `/run/secrets/x`.
pub(super) fn is_reference(text: &[u8]) -> bool {
    let begins = |word: &&str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    REFERENCES.iter().any(begins) || memchr::memmem::find(text, b"://").is_some()
}

/// For long random text only the plain marks count: a random token may well hold `todo` somewhere.
pub(super) fn stands_in(text: &[u8]) -> bool {
    const MARKS: &[&str] =
        &["xxxxxx", "000000", "your", "replace", "placeholder", "redacted", "......", "******", "12345678901"];
    let lower = text.to_ascii_lowercase();
    MARKS.iter().any(|mark| memchr::memmem::find(&lower, mark.as_bytes()).is_some())
}

/// `abcdefghij`, `0123456789`: most neighbours are successors.
pub(super) fn counts_up(text: &[u8]) -> bool {
    let steps = text.windows(2).filter(|two| matches!(two, [a, b] if a.wrapping_add(1) == *b)).count();
    steps * 2 > text.len()
}

/// Number of different bytes.
pub(super) fn distinct(text: &[u8]) -> usize {
    let mut seen = [false; 256];
    for byte in text {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_told_from_values() {
        for stand_in in [
            "YOUR_API_KEY_HERE",
            "<token>",
            "${SECRET}",
            "$DB_PASSWORD",
            "{{ .Values.key }}",
            "%(password)s",
            "%PASSWORD%",
            "xxxxxxxx",
            "change-me-please",
            "PassWord",
        ] {
            assert!(is_placeholder(stand_in.as_bytes()), "{stand_in}");
        }
        for reference in
            ["vault:secret/data/app", "arn:aws:kms:x", "process.env.KEY", "https://acme.io/key", "var.password"]
        {
            assert!(is_reference(reference.as_bytes()), "{reference}");
        }
        for value in ["Tr0ub4dor&3", "$aturn-7-moon", "q8-Zt4_Lm2Xv9Kd1", "100%sure-9"] {
            assert!(!is_placeholder(value.as_bytes()) && !is_reference(value.as_bytes()), "{value}");
        }
        assert!(counts_up(b"abcdefghij") && !counts_up(b"q8Zt4Lm2Xv"));
    }
}
