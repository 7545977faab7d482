//! Whatever the pieces: every byte leaves once, in order, with its line number, and whole lines stay whole.

use proptest::prelude::*;

use super::*;

const SMALL: CutLimits = CutLimits { block_bytes: 64, line_bytes: 24, overlap_bytes: 6 };

/// Cuts `input` in pieces of the given sizes, the last one again and again.
fn cut(limits: CutLimits, input: &[u8], sizes: &[usize]) -> Vec<Cut> {
    let mut cutter = LineCutter::new(limits, Position::default());
    let (mut cuts, mut rest) = (Vec::new(), input);
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(sizes.last().copied().unwrap_or(1)));
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        rest = after;
        cutter.push(piece, &mut cuts);
        let pushed = (input.len() - rest.len()) as u64;
        assert_eq!(cutter.position().offset + cutter.held_bytes() as u64, pushed);
    }
    cutter.finish(&mut cuts);
    assert_eq!(cutter.held_bytes(), 0);
    assert_eq!(cutter.position().offset, input.len() as u64);
    cuts
}

fn texts(cuts: &[Cut]) -> Vec<(u64, String)> {
    cuts.iter().map(|cut| (cut.first_line, String::from_utf8(cut.bytes.to_vec()).unwrap())).collect()
}

fn check(limits: CutLimits, input: &[u8], cuts: &[Cut]) {
    let mut out: Vec<u8> = Vec::new();
    let mut carry = 0;
    for cut in cuts {
        assert_eq!(cut.overlap, carry, "a cut begins with what the one before promised");
        carry = cut.carry;
        assert_eq!(cut.offset + cut.overlap as u64, out.len() as u64);
        let at = cut.offset as usize;
        assert_eq!(cut.bytes, input[at..at + cut.bytes.len()]);
        assert_eq!(cut.first_line, 1 + memchr_iter(b'\n', &input[..at]).count() as u64);
        let line_start = memrchr(b'\n', &input[..at]).map_or(0, |end| end + 1);
        assert_eq!(cut.first_column, (at - line_start) as u64);
        out.extend_from_slice(&cut.bytes[cut.overlap..]);
        assert!(cut.bytes.len() <= limits.block_bytes + limits.line_bytes, "{}", cut.bytes.len());
        let whole = cut.bytes.ends_with(b"\n") || out.len() == input.len();
        assert!(whole || cut.carry > 0 || limits.overlap_bytes == 0, "a line was torn without an overlap");
    }
    assert_eq!(carry, 0, "the last cut promises nothing");
    assert_eq!(out, input);
}

/// Lines of all lengths, some with what opens and closes a key.
fn logs() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => "[a-z]{0,20}",
        2 => "[a-z]{20,120}",
        1 => Just("-----BEGIN X-----".to_owned()),
        1 => Just("-----END X-----".to_owned()),
    ];
    let end = prop_oneof![6 => Just("\n"), 2 => Just("\r\n"), 1 => Just("")];
    proptest::collection::vec((line, end), 0..40)
        .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| (line + end).into_bytes()).collect())
}

proptest! {
    #[test]
    fn any_pieces_give_the_same_bytes_and_lines(input in logs(), sizes in proptest::collection::vec(1_usize..90, 1..20)) {
        for limits in [SMALL, CutLimits::default(), CutLimits { overlap_bytes: 0, ..SMALL }] {
            check(limits, &input, &cut(limits, &input, &sizes));
        }
    }

    /// A reader that is killed goes on at the last position that it wrote down, with a new cutter.
    #[test]
    fn going_on_at_a_position_misses_nothing(input in logs(), size in 1_usize..50, every in 1_usize..5) {
        let mut cutter = LineCutter::new(SMALL, Position::default());
        let mut cuts = Vec::new();
        let mut at = 0;
        for step in 1.. {
            let piece = &input[at..(at + size).min(input.len())];
            cutter.push(piece, &mut cuts);
            at += piece.len();
            if at == input.len() {
                break;
            }
            if step % every == 0 && cutter.position().offset + 40 > at as u64 {
                let written = serde_json::to_string(&cutter.position()).unwrap();
                let position: Position = serde_json::from_str(&written).unwrap();
                at = position.offset as usize;
                cutter = LineCutter::new(SMALL, position);
                // What is held has to be read again in one go, or a small piece never gets past it.
                let again = &input[at..(at + 200).min(input.len())];
                cutter.push(again, &mut cuts);
                at += again.len();
            }
        }
        cutter.finish(&mut cuts);
        check(CutLimits { block_bytes: 264, ..SMALL }, &input, &cuts);
    }
}

#[test]
fn lines_leave_with_the_piece_that_ends_them() {
    let mut cutter = LineCutter::new(CutLimits::default(), Position::default());
    let mut cuts = Vec::new();
    cutter.push(b"one\ntw", &mut cuts);
    assert_eq!(texts(&cuts), [(1, "one\n".to_owned())]);
    assert_eq!(cutter.position(), Position { offset: 4, line: 2, column: 0, overlap: 0 });
    cutter.push(b"o\r\n\nthree", &mut cuts);
    cutter.flush_held(&mut cuts);
    assert_eq!(texts(&cuts[1..]), [(2, "two\r\n\n".to_owned())]);
    cutter.finish(&mut cuts);
    assert_eq!(texts(&cuts[2..]), [(4, "three".to_owned())]);
}

#[test]
fn a_long_line_leaves_in_windows_that_overlap() {
    let input = [b"a\n".as_slice(), &[b'x'; 50], b"\nb\n"].concat();
    let cuts = cut(SMALL, &input, &[1]);
    let shape: Vec<_> = cuts.iter().map(|cut| (cut.first_line, cut.first_column, cut.overlap, cut.carry)).collect();
    assert_eq!(shape, [(1, 0, 0, 0), (2, 0, 0, 6), (2, 18, 6, 6), (2, 36, 6, 0), (3, 0, 0, 0)]);
    check(SMALL, &input, &cuts);
}

#[test]
fn a_line_that_ends_with_its_window_still_closes_the_overlap() {
    let input = [b'x'; 24];
    let cuts = cut(SMALL, &input, &[24]);
    let shape: Vec<_> = cuts.iter().map(|cut| (cut.bytes.len(), cut.overlap, cut.carry)).collect();
    assert_eq!(shape, [(24, 0, 6), (6, 6, 0)], "what the first left to the next is told by the second");
}

#[test]
fn an_open_key_is_held_until_it_closes() {
    let mut cutter = LineCutter::new(CutLimits::default(), Position::default());
    let mut cuts = Vec::new();
    for line in ["log\n", "x -----BEGIN K-----\n", "AAAA\n", "BBBB\n"] {
        cutter.push(line.as_bytes(), &mut cuts);
    }
    assert_eq!(texts(&cuts), [(1, "log\n".to_owned())]);
    cutter.push(b"-----END K-----\nmore\n", &mut cuts);
    assert_eq!(texts(&cuts[1..]), [(2, "x -----BEGIN K-----\nAAAA\nBBBB\n-----END K-----\nmore\n".to_owned())]);
}

#[test]
fn what_is_held_has_a_bound_and_leaves_on_demand() {
    let mut cutter = LineCutter::new(CutLimits::default(), Position::default());
    let mut cuts = Vec::new();
    cutter.push(b"-----BEGIN K-----\nA\nunfinished", &mut cuts);
    assert!(cuts.is_empty());
    cutter.flush_held(&mut cuts);
    assert_eq!(texts(&cuts), [(1, "-----BEGIN K-----\nA\n".to_owned())]);
    assert_eq!(cutter.held_bytes(), "unfinished".len());

    cuts.clear();
    cutter.push(b"\n-----BEGIN L-----\n", &mut cuts);
    let mut most = 0;
    for _ in 0..2000 {
        cutter.push(&[[b'A'; 63].as_slice(), b"\n"].concat(), &mut cuts);
        most = most.max(cutter.held_bytes());
    }
    assert!((HOLD_BYTES - 100..HOLD_BYTES + 100).contains(&most), "{most}");
    assert!(cutter.held_bytes() < 100, "after the bound lines flow again");
}

#[test]
fn a_held_rest_keeps_no_block_alive() {
    let mut cutter = LineCutter::new(CutLimits::default(), Position::default());
    let mut cuts = Vec::new();
    cutter.push(&[[b'x'; 1000].as_slice(), b"\nrest"].concat(), &mut cuts);
    assert!(cutter.pending.capacity() < 100 && cutter.held_bytes() == 4, "{}", cutter.pending.capacity());
}

#[test]
fn a_message_of_several_lines_stays_in_one_cut() {
    let messages = Messages::Begin(std::sync::Arc::new(regex::bytes::Regex::new(r"^\d\d:\d\d ").unwrap()));
    let text = "10:00 one\n at a\n at b\n10:01 two\n10:02 three\n\nCaused by\n at c\n10:03 four\n";
    for size in 1..text.len() {
        let mut cutter = LineCutter::new(CutLimits::default(), Position::default()).with_messages(&messages);
        let mut cuts = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            cutter.push(piece, &mut cuts);
        }
        // The last one may go on.
        assert_eq!(cutter.held_bytes(), "10:03 four\n".len(), "{size}");
        assert!(cuts.iter().all(|cut| cut.bytes.starts_with(b"10:")), "{size}: {cuts:?}");
        cutter.flush_held(&mut cuts);
        let all: String = texts(&cuts).into_iter().map(|(_, text)| text).collect();
        assert_eq!(all, text);
    }
    // A message that does not end flows on.
    let mut cutter = LineCutter::new(CutLimits::default(), Position::default()).with_messages(&messages);
    let mut cuts = Vec::new();
    cutter.push(b"10:00 endless\n", &mut cuts);
    for _ in 0..4000 {
        cutter.push(&[[b'A'; 63].as_slice(), b"\n"].concat(), &mut cuts);
        assert!(cutter.held_bytes() <= HOLD_BYTES + 100);
    }
    assert!(!cuts.is_empty());
}
