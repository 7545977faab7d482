//! What `--context` found, as text for people, behind what is told of the finding. Enters: [`Again`]. Leaves: whole lines.

use std::fmt::Write as _;

use super::{Again, Line};
use crate::cli::{findings::text, output::wrapped};

/// What has become of the text, and the lines around it.
pub(in crate::cli::findings) fn told(again: &Again) -> String {
    let mut out = String::new();
    text::line(&mut out, "context", &again.why);
    let digits = again.lines.iter().map(|line| line.number.to_string().len()).max().unwrap_or(0);
    for Line { number, leak, text } in &again.lines {
        let mark = if *leak { '>' } else { ' ' };
        let width = text::WIDTH - text::LABEL - digits - 2;
        for (index, part) in wrapped(text.as_str(), width).iter().enumerate() {
            let number = if index == 0 { number.to_string() } else { String::new() };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{:>label$} {number:>digits$}  {part}",
                if index == 0 { mark } else { ' ' },
                label = text::LABEL - 2
            );
        }
    }
    out
}
