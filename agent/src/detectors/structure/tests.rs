//! Drifts that are told, and the tempting ones that are not.

use serde_json::json;

use super::*;
use crate::exchange::{Dialect, Reply, Schema, ToolArguments, Written, sample};

fn at(minute: u64) -> Timestamp {
    Timestamp(sample::MIDNIGHT.0 + minute * 60_000_000_000)
}

/// A call whose reply is this text.
fn said(text: &str, minute: u64) -> Exchange {
    let reply = Reply { form: Form::of(text), opening: String::new(), bytes: text.len() };
    let written = Written { replies: vec![reply], ..Written::default() };
    Exchange {
        written: Box::new(written),
        started_at: at(minute),
        ended_at: at(minute),
        ..sample::exchange("openai", "gpt-4o")
    }
}

/// A call that gives these arguments to a tool.
fn called(arguments: &Value, schema: &str, minute: u64) -> Exchange {
    let call = ToolArguments { tool: "save".into(), form: Form::Json(arguments.clone()) };
    let digest = schema.len() as u64;
    let schema = Schema {
        tool: Some("save".into()),
        is_strict: false,
        dialect: Dialect::JsonSchema,
        digest,
        text: schema.into(),
    };
    let written = Written { tool_arguments: vec![call], schemas: vec![schema], ..Written::default() };
    Exchange { written: Box::new(written), ..said("", minute) }
}

/// Title, severity and facts of what is told.
fn told(detector: &mut Structure, exchange: &Exchange) -> Vec<(String, Severity, Value)> {
    let mut seen = Vec::new();
    detector.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => {
            assert_eq!(hit.rule, "model.structure_changed");
            let facts: Value = hit.facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            seen.push((hit.title, hit.severity, facts));
        }
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

fn ticket(number: u64) -> String {
    let lines = if number.is_multiple_of(3) {
        json!([])
    } else {
        json!([{"sku": "a", "price": 1.5}, {"sku": "b", "price": number}])
    };
    let mut ticket = json!({"id": number, "lines": lines, "total": {"net": 1, "gross": 2}, "note": null});
    if number.is_multiple_of(4) {
        ticket["coupon"] = json!("x");
    }
    ticket.to_string()
}

/// After so many tickets as ever, these replies: at which the first finding comes, and its title.
fn after(usual: u64, replies: impl Fn(u64) -> String, most: u64) -> Option<(u64, String)> {
    let mut detector = Structure::new(ModelChanges::new());
    for number in 0..usual {
        assert_eq!(told(&mut detector, &said(&ticket(number), number)), []);
    }
    (0..most).find_map(|number| {
        let seen = told(&mut detector, &said(&replies(number), usual + number));
        seen.into_iter().next().map(|(title, ..)| (number, title))
    })
}

fn edited(number: u64, edit: impl Fn(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(&ticket(number)).unwrap();
    edit(&mut value);
    value.to_string()
}

fn text_of(site: &Site) -> String {
    serde_json::to_string(site).unwrap()
}

#[test]
fn breaks_are_told_at_the_fifth() {
    let tail = "in 5 of the last 5 (before: 0 of 50)";
    let cases: [(&dyn Fn(u64) -> String, &str); 7] = [
        (
            &|number| edited(number, |value| drop(value.as_object_mut().unwrap().remove("total"))),
            "`$.total` is missing",
        ),
        (&|number| edited(number, |value| value["total"] = json!({"net": 1, "sum": 2})), "`$.total.gross` is missing"),
        (&|number| edited(number, |value| value["id"] = json!("7")), "`$.id` is string instead of number"),
        (&|number| edited(number, |value| value["total"] = Value::Null), "`$.total` is null instead of object"),
        (&|number| format!("[{}]", ticket(number)), "a JSON array instead of a JSON object"),
        (&|_| "The total is two.".to_owned(), "words instead of a JSON object"),
        (&|number| format!("```json\n{}\n```", ticket(number)), "JSON in a Markdown fence instead of a JSON object"),
    ];
    for (replies, words) in cases {
        let title = format!("answers of `gpt-4o` changed: {words} {tail}");
        assert_eq!(after(50, replies, 20), Some((4, title)));
    }
    let broken = after(50, |number| ticket(number).replace('}', ""), 20);
    assert!(broken.is_some_and(|(at, title)| at == 4 && title.contains("broken JSON instead of a JSON object")));
}

#[test]
fn a_part_of_the_answers_is_enough() {
    // A rollout to a third of the calls.
    let third = |number: u64| {
        edited(number, |value| {
            if number.is_multiple_of(3) {
                value["id"] = json!("7");
            }
        })
    };
    let (number, title) = after(200, third, 100).expect("a third is no chance");
    assert!(number < 40, "{number}");
    assert!(title.starts_with("answers of `gpt-4o` changed: `$.id` is string instead of number in "), "{title}");
}

#[test]
fn what_breaks_nothing_is_not_told() {
    let cases: [(&str, &dyn Fn(u64) -> String); 9] = [
        ("as ever", &|number| ticket(number)),
        ("a new member", &|number| edited(number, |value| value["extra"] = json!({"deep": [1]}))),
        ("an optional one that is always there", &|number| edited(number, |value| value["coupon"] = json!("y"))),
        ("an optional one that is never there", &|number| {
            edited(number, |value| drop(value.as_object_mut().unwrap().remove("coupon")))
        }),
        ("empty lists", &|number| edited(number, |value| value["lines"] = json!([]))),
        ("other numbers", &|number| edited(number, |value| value["id"] = json!(number as f64 / 2.0))),
        ("one in fifty breaks", &|number| if number % 50 == 9 { "Sorry?".to_owned() } else { ticket(number) }),
        ("one retried three times", &|number| if number < 3 { "{".to_owned() } else { ticket(number) }),
        ("spaces", &|number| format!("\n  {}\n\n", ticket(number))),
    ];
    for (why, replies) in cases {
        assert_eq!(after(60, replies, 600), None, "{why}");
    }
}

#[test]
fn answers_that_are_none_do_not_count() {
    let mut detector = Structure::new(ModelChanges::new());
    for number in 0..60 {
        told(&mut detector, &said(&ticket(number), number));
    }
    for number in 60..200 {
        let cut = said("{\"id\": 1, ", number);
        let mut hole = cut.clone();
        hole.view.complete = false;
        let refused = Written { is_refused: true, ..*said("I cannot.", number).written };
        let cases = [
            Exchange { finish_reasons: vec!["length".into()], ..cut.clone() },
            Exchange { finish_reasons: vec!["max_tokens".into()], ..cut.clone() },
            Exchange { finish_reasons: vec!["MAX_TOKENS".into()], ..cut.clone() },
            Exchange { finish_reasons: vec!["content_filter".into()], ..cut.clone() },
            Exchange { status: Some(500), ..cut.clone() },
            Exchange { error: Some("overloaded".into()), ..cut.clone() },
            Exchange { written: Box::new(refused), ..cut.clone() },
            Exchange { request_model: Some("gpt-4o-mini".into()), ..cut },
            hole,
        ];
        for exchange in &cases {
            assert_eq!(told(&mut detector, exchange), []);
        }
    }
}

#[test]
fn prose_and_fences_have_no_structure_to_lose() {
    let mut detector = Structure::new(ModelChanges::new());
    let fenced = |number: u64| format!("```json\n{}\n```", ticket(number));
    for number in 0..300 {
        let prose = Exchange { request_model: Some("prose".into()), ..said("It rains.", number) };
        assert_eq!(told(&mut detector, &prose), []);
        // From fences to plain JSON: nobody who read the one stumbles over the other.
        let text = if number < 100 { fenced(number) } else { ticket(number) };
        assert_eq!(told(&mut detector, &said(&text, number)), []);
    }
    let seen: Vec<_> = (300..310).flat_map(|number| told(&mut detector, &said("It rains.", number))).collect();
    assert_eq!(seen.len(), 6, "but to words is a break: {seen:?}");
}

#[test]
fn tools_are_told_apart_and_another_schema_is_another_start() {
    let mut detector = Structure::new(ModelChanges::new());
    let (old, new) = (json!({"path": "a", "line": 1}), json!({"file": "a", "line": 1}));
    for number in 0..60 {
        assert_eq!(told(&mut detector, &called(&old, "{}", number)), []);
    }
    // The program's own release: the schema that it asks for changes with it.
    for number in 60..120 {
        assert_eq!(told(&mut detector, &called(&new, "{ }", number)), []);
    }
    let seen: Vec<_> = (120..130).flat_map(|number| told(&mut detector, &called(&old, "{ }", number))).collect();
    let (title, _, facts) = seen.first().expect("the model's own change is one");
    assert_eq!(
        title,
        "arguments that `gpt-4o` gives to the tool `save` changed: `$.file` is missing in 5 of the last 15 (before: 0 of 50)"
    );
    assert_eq!(facts["structure.tool"], json!("save"));
    assert_eq!(facts["structure.breaks"][0]["new_paths"], json!(["$.path"]));
    assert_eq!(facts["structure.since"], json!("2026-11-23T02:00:00.000Z"));
}

#[test]
fn a_change_of_the_model_is_named_as_the_cause() {
    // Hours between the change and the drift, and whether it is the cause.
    for (hours, is_cause) in [(1, true), (23, true), (25, false)] {
        let changes = ModelChanges::new();
        let mut detector = Structure::new(changes.clone());
        for number in 0..60 {
            told(&mut detector, &said(&ticket(number), number));
        }
        let first = said("x", 60);
        let (service, host) = (&first.origin.service, &first.host);
        changes.note(service, host, first.api, "gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20", at(60));
        let later = 60 + hours * 60;
        let mut seen =
            (later..later + 5).flat_map(|minute| told(&mut detector, &said("[]", minute))).collect::<Vec<_>>();
        let (title, severity, facts) = seen.pop().expect("a drift");
        let cause = ", since the model behind the name changed from `gpt-4o-2024-08-06` to `gpt-4o-2024-11-20`";
        assert_eq!(title.ends_with(cause), is_cause, "{title}");
        assert_eq!(severity, if is_cause { Severity::High } else { Severity::Medium });
        assert_eq!(facts["model.resolved_before"] == json!("gpt-4o-2024-08-06"), is_cause);
        assert_eq!(facts["model.changed_at"] == json!("2026-11-23T01:00:00.000Z"), is_cause);
    }
}

#[test]
fn what_lasts_is_learned_and_a_return_is_told_again() {
    let mut detector = Structure::new(ModelChanges::new());
    let mut hits = Vec::new();
    for number in 0..400_u64 {
        // Tickets, then lists, then tickets again.
        let text = if (100..250).contains(&number) { format!("[{}]", ticket(number)) } else { ticket(number) };
        if !told(&mut detector, &said(&text, number)).is_empty() {
            hits.push(number);
        }
    }
    let [first, last] = [hits[0], hits[hits.len() - 1]];
    // Behind 18 good ones of the same block it takes a sixth, behind 30 a seventh.
    assert_eq!((first, last), (105, 288), "{hits:?}");
    assert_eq!(hits.iter().filter(|hit| **hit < 250).count(), 33, "one block is told, then it is how things are");
}

#[test]
fn what_it_knows_survives_a_restart_and_is_small() {
    let wide = |number: u64| {
        let members = (0..60).map(|at| (format!("member_with_a_long_name_{at}"), json!({"n": number, "s": "x"})));
        members.collect::<Value>().to_string()
    };
    let mut detector = Structure::new(ModelChanges::new());
    let mut kept: Vec<(String, String)> = Vec::new();
    for number in 0..60 {
        told(&mut detector, &said(&ticket(number), number));
        told(&mut detector, &Exchange { request_model: Some("wide".into()), ..said(&wide(number), number) });
        detector.changes(&mut |change| {
            kept.retain(|(key, _)| *key != change.key);
            kept.extend(change.text().map(|value| (change.key, value)));
        });
    }
    assert_eq!(kept.len(), 2);
    for (_, value) in &kept {
        assert!(value.len() <= 3 << 10, "{} bytes", value.len());
    }
    assert!(size_of::<site::Path>() * site::MAX_PATHS + site::MAX_NAMES_BYTES + 100 <= 2 << 10);
    let mut restarted = Structure::new(ModelChanges::new());
    for (key, value) in &kept {
        restarted.restore(key, value);
    }
    let hits: Vec<_> = (60..65).flat_map(|number| told(&mut restarted, &said("[]", number))).collect();
    assert_eq!(hits.len(), 1);
    for (_, value) in &kept {
        let site = state::read_value(value).unwrap();
        assert_eq!(text_of(&site), *value);
    }
}

#[test]
fn nonsense_is_not_restored() {
    let mut detector = Structure::new(ModelChanges::new());
    told(&mut detector, &said(&ticket(1), 1));
    let site = detector.sites.iter().next().map(|(_, site)| site.clone()).unwrap();
    let key = "00000000000000aa-0000000000000000";
    let many = Site { paths: vec![site.paths[0].clone(); site::MAX_PATHS + 1], ..site.clone() };
    let mut dangling = site.clone();
    dangling.paths[0].parent = 200;
    let mut long = site.clone();
    long.paths[0].name = "x".repeat(1000).into();
    let mut forms = site.clone();
    forms.forms[0] = u16::MAX;
    for (key, value) in [
        (key, "{}".to_owned()),
        (key, "[1]".to_owned()),
        ("", text_of(&site)),
        ("0-0", text_of(&site)),
        (key, text_of(&many)),
        (key, text_of(&dangling)),
        (key, text_of(&long)),
        (key, text_of(&forms)),
        (key, text_of(&site).replace("[0,1,0,0,0]", "[9,1,0,0,0]")),
    ] {
        detector.restore(key, &value);
        assert_eq!(detector.sites.len(), 1, "{value:.80}");
    }
    detector.restore(key, &text_of(&site));
    assert_eq!(detector.sites.len(), 2);
}

#[test]
fn state_is_bounded_whatever_comes() {
    let mut detector = Structure::new(ModelChanges::new());
    detector.sites = Table::new(3);
    for number in 0..40_u64 {
        let junk = (0..200).map(|at| (format!("m{}x{at}", number % 7), json!([[at]]))).collect::<Value>();
        let model = Some(format!("model-{}", number % 5));
        told(&mut detector, &Exchange { request_model: model, ..said(&junk.to_string(), number) });
    }
    assert_eq!(detector.sites.len(), 3);
    for (_, site) in detector.sites.iter() {
        assert!(site.paths.capacity() <= site::MAX_PATHS, "{}", site.paths.capacity());
    }
    let mut gone = 0;
    detector.changes(&mut |change| gone += usize::from(change.record.is_none()));
    assert!(gone >= 2, "entries that had to go are forgotten by the store too: {gone}");
}
