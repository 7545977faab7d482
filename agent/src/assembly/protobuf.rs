//! Text in protocol buffers whose schema is not known (<https://protobuf.dev/programming-guides/encoding/>). Enters: a message, whole or cut.
//! Leaves: the strings in it, one a line, in order. Never says what a field means, and never gives out more bytes than came in.

/// Messages inside each other that are looked into; deeper ones are left out.
const MAX_DEPTH: usize = 24;
/// Shortest text that is taken from a field whose end was lost: less could be anything.
const MIN_CUT_BYTES: usize = 4;

/// What a field holds: the wire types that are read. Groups (3, 4) are long out of use.
enum Held<'a> {
    /// A number.
    Number,
    /// A string, bytes, or a message.
    Bytes(&'a [u8]),
    /// Bytes, and their end is missing.
    Cut(&'a [u8]),
}

/// These bytes are no field.
struct NoField;

/// The strings of a message. What is no message from some place on has no strings from there on.
pub(super) fn strings(message: &[u8]) -> String {
    let mut text = String::new();
    walk(message, 0, &mut text);
    text
}

fn walk(message: &[u8], depth: usize, text: &mut String) {
    let mut rest = message;
    while !rest.is_empty() {
        match field(&mut rest) {
            Ok(Held::Number) => {}
            Ok(Held::Bytes(bytes)) => match printable(bytes) {
                // `\n` is also how a message begins whose first field is a string.
                Some(string) if bytes.first() != Some(&b'\n') || !is_message(bytes) => line(string, text),
                _ if depth < MAX_DEPTH && is_message(bytes) => walk(bytes, depth + 1, text),
                _ => {}
            },
            Ok(Held::Cut(bytes)) => {
                let whole = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
                // The last character may be cut too.
                if whole.len() + 3 >= bytes.len() && whole.len() >= MIN_CUT_BYTES && is_printable(whole) {
                    line(whole, text);
                } else if depth < MAX_DEPTH {
                    walk(bytes, depth + 1, text);
                }
                return;
            }
            Err(NoField) => return,
        }
    }
}

fn line(string: &str, text: &mut String) {
    if !string.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(string);
    }
}

fn printable(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| is_printable(text))
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|char| !char.is_control() || matches!(char, '\t' | '\n' | '\r'))
}

/// Whether bytes are fields from end to end.
fn is_message(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        match field(&mut rest) {
            Ok(Held::Number | Held::Bytes(_)) => {}
            Ok(Held::Cut(_)) | Err(NoField) => return false,
        }
    }
    !bytes.is_empty()
}

/// The next field.
fn field<'a>(rest: &mut &'a [u8]) -> Result<Held<'a>, NoField> {
    let tag = number(rest)?;
    if !(1..1 << 29).contains(&(tag >> 3)) {
        return Err(NoField);
    }
    match tag & 7 {
        0 => number(rest).map(|_| Held::Number),
        1 => skip(rest, 8),
        5 => skip(rest, 4),
        2 => {
            let length = usize::try_from(number(rest)?).map_err(|_| NoField)?;
            Ok(match rest.split_at_checked(length) {
                Some((bytes, tail)) => {
                    *rest = tail;
                    Held::Bytes(bytes)
                }
                None => Held::Cut(std::mem::take(rest)),
            })
        }
        _ => Err(NoField),
    }
}

fn skip<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<Held<'a>, NoField> {
    *rest = rest.get(bytes..).ok_or(NoField)?;
    Ok(Held::Number)
}

/// A number of up to ten bytes, seven bits each, lowest first.
fn number(rest: &mut &[u8]) -> Result<u64, NoField> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(NoField)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(NoField)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A field that has a length.
    pub(in crate::assembly) fn with_length(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
        out
    }

    #[test]
    fn strings_come_out_in_order_however_deep_they_lie() {
        let part = with_length(1, "grüße, and a long enough text".as_bytes());
        let content = [with_length(1, b"user"), with_length(2, &part)].concat();
        let message = [
            with_length(1, b"projects/p/models/m"),
            vec![0x10, 0x96, 0x01],              // 2: a number
            vec![0x1d, 1, 2, 3, 4],              // 3: four bytes
            vec![0x21, 1, 2, 3, 4, 5, 6, 7, 8],  // 4: eight
            with_length(5, &[0xff, 0xfe, 0, 1]), // 5: bytes
            with_length(6, &content),
            with_length(7, b""),
            with_length(8, b"two\nlines"),
        ]
        .concat();
        let all = "projects/p/models/m\nuser\ngrüße, and a long enough text\ntwo\nlines";
        assert_eq!(strings(&message), all);
        // A message that is nothing but a string of 32 to 126 bytes begins like a line of text.
        let line = with_length(1, &with_length(1, &[b'x'; 40]));
        assert_eq!(strings(&line), "x".repeat(40));
        // Text that begins with an empty line is no message.
        assert_eq!(strings(&with_length(1, b"\n\nhello")), "\n\nhello");
    }

    #[test]
    fn what_there_is_of_a_cut_message_is_kept() {
        let inner = [with_length(1, b"first"), with_length(2, b"a second one")].concat();
        let message = with_length(9, &inner);
        assert_eq!(strings(&message[..message.len() - 4]), "first\na second");
        assert_eq!(strings(&[&*with_length(1, b"text"), b"\xff\xff\xff"].concat()), "text");
        assert_eq!(strings(b"this is no message at all"), "");
    }

    #[test]
    fn depth_is_bounded() {
        let mut message = with_length(1, b"deep");
        for _ in 0..200 {
            message = with_length(3, &message);
        }
        assert_eq!(strings(&message), "");
    }

    proptest! {
        #[test]
        fn no_bytes_break_it_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(strings(&bytes).len() <= bytes.len());
        }
    }
}
