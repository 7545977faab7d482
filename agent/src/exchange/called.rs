//! Tools that an answer asks the client to run, as far as their results must find them again. Enters: the text of an answer, whose
//! paths are the same whether it was streamed or not. Leaves: [`CalledTool`]s. A call without an id or a name is none that a later
//! request could be compared with. It keeps no arguments, only their digest.

use super::{
    Leaves, arguments,
    facts::MAX_NAME_BYTES,
    tool_results::{fold, hash},
};

/// Calls of one answer that are told.
const MAX_CALLED: usize = 64;

/// A tool that an answer asks the client to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalledTool {
    /// Id of the call, which its result repeats.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Hash of the texts that it is called with: two calls that differ in short numbers alone have the same. `None` where the
    /// vendor's shape spreads them over several members. It does not compare with [`ToolResult::arguments`](super::ToolResult).
    pub arguments: Option<u64>,
}

/// What is known of a call so far.
#[derive(Default)]
struct Partial<'a> {
    place: &'a str,
    id: Option<&'a str>,
    name: Option<&'a str>,
    arguments: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Id,
    Name,
    Arguments,
}

/// Ends of paths, and what stands there.
const MEMBERS: [(&str, Member); 10] = [
    (".function.name", Member::Name),
    (".function.arguments", Member::Arguments),
    (".custom.name", Member::Name),
    (".custom.input", Member::Arguments),
    (".call_id", Member::Id),
    (".toolUseId", Member::Id),
    (".id", Member::Id),
    (".name", Member::Name),
    (".arguments", Member::Arguments),
    (".input", Member::Arguments),
];

/// How ids of calls begin that Anthropic runs itself.
const SERVERS: [&str; 2] = ["srvtoolu_", "mcptoolu_"];

/// The calls in an answer, in order.
pub(super) fn calls(answer: &Leaves) -> Vec<CalledTool> {
    let mut calls: Vec<Partial<'_>> = Vec::new();
    for (path, range) in answer.iter() {
        // Arguments that are JSON in a text are leaves of their own.
        let (path, within) = path.split_once(".$").map_or((path, None), |(path, within)| (path, Some(within)));
        let Some((place, member)) = split(path) else { continue };
        let Some(text) = answer.text().get(range) else { continue };
        let known = calls.iter().rposition(|call| call.place == place);
        if known.is_none() && calls.len() >= MAX_CALLED {
            break;
        }
        let at = known.unwrap_or_else(|| {
            calls.push(Partial { place, ..Partial::default() });
            calls.len() - 1
        });
        let Some(call) = calls.get_mut(at) else { continue };
        match (member, within) {
            (Member::Id, None) => call.id = Some(text),
            (Member::Name, None) => call.name = Some(text),
            (Member::Arguments, None) => call.arguments = Some(arguments::digest_of_text(text)),
            // In whatever order they come.
            (Member::Arguments, Some(within)) => {
                let leaf = fold(hash(within.as_bytes()), hash(text.as_bytes()));
                call.arguments = Some(call.arguments.unwrap_or_default().wrapping_add(leaf));
            }
            (Member::Id | Member::Name, Some(_)) => {}
        }
    }
    let whole = calls.into_iter().filter_map(|call| {
        let short = |text: &&str| text.len() <= MAX_NAME_BYTES;
        let id = call.id.filter(short).filter(|id| !SERVERS.iter().any(|server| id.starts_with(server)))?;
        Some(CalledTool { id: id.to_owned(), name: call.name.filter(short)?.to_owned(), arguments: call.arguments })
    });
    whole.collect()
}

/// The place of a call, and which member of it a path leads to.
fn split(path: &str) -> Option<(&str, Member)> {
    let (place, end, member) =
        MEMBERS.iter().find_map(|(end, member)| Some((path.strip_suffix(end)?, *end, *member)))?;
    let last = place.rsplit('.').next()?;
    let is_item = place.len() == last.len() + 2 && place.starts_with("$.");
    let is_place = match last.split('[').next()? {
        "tool_calls" | "toolUse" | "functionCall" => true,
        // An item of OpenAI responses has an id of its own besides that of the call.
        "output" => is_item && end != ".id",
        "content" => is_item,
        _ => false,
    };
    is_place.then_some((place, member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_its_place() {
        for (leaves, expected) in [
            (
                &[
                    ("$.choices[0].message.content", "text"),
                    ("$.choices[0].message.tool_calls[0].id", "c1"),
                    ("$.choices[0].message.tool_calls[0].function.name", "f"),
                    ("$.choices[0].message.tool_calls[0].function.arguments", "{\"a\":1}"),
                    ("$.choices[0].message.tool_calls[1].function.name", "g"),
                    ("$.choices[0].message.tool_calls[1].id", "c2"),
                    ("$.id", "chatcmpl-1"),
                ][..],
                &[("c1", "f", true), ("c2", "g", false)][..],
            ),
            (
                &[
                    ("$.content[0].text", "text"),
                    ("$.content[1].id", "toolu_1"),
                    ("$.content[1].name", "f"),
                    ("$.content[1].input.city", "Berlin"),
                    ("$.content[2].id", "srvtoolu_1"),
                    ("$.content[2].name", "web_search"),
                ],
                &[("toolu_1", "f", false)],
            ),
            (
                &[
                    ("$.output[1].arguments.$.q", "x"),
                    ("$.output[1].call_id", "c1"),
                    ("$.output[1].id", "fc_1"),
                    ("$.output[1].name", "f"),
                    ("$.output[0].id", "rs_1"),
                ],
                &[("c1", "f", true)],
            ),
            (
                &[
                    ("$.output.message.content[1].toolUse.name", "f"),
                    ("$.output.message.content[1].toolUse.toolUseId", "t1"),
                ],
                &[("t1", "f", false)],
            ),
            (
                &[
                    ("$.candidates[0].content.parts[0].functionCall.id", "g1"),
                    ("$.candidates[0].content.parts[0].functionCall.name", "f"),
                    ("$.candidates[0].content.parts[1].functionCall.name", "without"),
                ],
                &[("g1", "f", false)],
            ),
        ] {
            let mut text = Leaves::default();
            for (path, leaf) in leaves {
                text.push(path, leaf);
            }
            let found = calls(&text);
            let found: Vec<_> =
                found.iter().map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.is_some())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn they_are_bounded() {
        let mut text = Leaves::default();
        for index in 0..1000 {
            text.push(format!("$.content[{index}].id"), "toolu");
            text.push(format!("$.content[{index}].name"), "f");
        }
        assert_eq!(calls(&text).len(), MAX_CALLED);
    }
}
