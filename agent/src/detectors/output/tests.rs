//! Rates that jump, and those that do not.

use super::*;
use crate::exchange::{Written, sample};

fn said(text: &str) -> Exchange {
    let form = Form::of(text);
    let reply = Reply { form, opening: text.to_owned(), bytes: text.len() };
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.written = Box::new(Written { replies: vec![reply], ..Written::default() });
    exchange.asking.answer_format = Some("ticket".into());
    exchange
}

fn ended(reason: &str) -> Exchange {
    Exchange { finish_reasons: vec![reason.into()], ..said("{}") }
}

fn told(detector: &mut Output, exchange: &Exchange) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    detector.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => seen.push((hit.rule.to_owned(), hit.title)),
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

#[test]
fn flaws_in_the_words_of_every_vendor() {
    let refusal = |text: &str| said(text);
    let refused = Written { is_refused: true, ..Written::default() };
    let marked = Exchange { written: Box::new(refused), ..said("") };
    let stopped = |by: &str| {
        let written = Written { stopped_by: Some(by.into()), ..Written::default() };
        Exchange { written: Box::new(written), finish_reasons: vec!["incomplete".into()], ..said("") }
    };
    let mut asked_for_words = said("It rains.");
    asked_for_words.asking.answer_format = None;
    let error = Exchange { status: Some(400), error: Some("content_filter".into()), ..said("") };
    let long = format!("I'm sorry, but I can only say so much. {}", "Then it goes on. ".repeat(60));
    let cases = vec![
        (said("{}"), [false; 4]),
        (ended("stop"), [false; 4]),
        (refusal("I\u{2019}m sorry, but I can\u{2019}t help with that."), [true, false, false, false]),
        (refusal("I cannot assist with that request."), [true, false, false, false]),
        (refusal(&long), [false, false, false, true]),
        (marked, [true, false, false, false]),
        (ended("refusal"), [true, false, false, false]),
        (ended("content_filter"), [false, true, false, false]),
        (ended("SAFETY"), [false, true, false, false]),
        (ended("guardrail_intervened"), [false, true, false, false]),
        (stopped("PROHIBITED_CONTENT"), [false, true, false, false]),
        (error, [false, true, false, false]),
        (ended("length"), [false, false, true, false]),
        (ended("MAX_TOKENS"), [false, false, true, false]),
        (stopped("max_output_tokens"), [false, false, true, false]),
        (said("Here it is: {}"), [false, false, false, true]),
        (said("{\"a\": "), [false, false, false, true]),
        (said("```json\n{}\n```"), [false, false, false, true]),
        (asked_for_words, [false; 4]),
    ];
    for (exchange, expected) in cases {
        let flaws = flaws(&exchange).map(|flaws| flaws.map(|flaw| flaw == Some(true)));
        assert_eq!(flaws, Some(expected), "{:?} {:?}", exchange.written, exchange.finish_reasons);
    }
    let mut hole = said("{}");
    hole.view.complete = false;
    for exchange in [
        hole,
        Exchange { status: Some(500), error: Some("overloaded".into()), ..said("") },
        Exchange { finish_reasons: Vec::new(), written: Box::default(), ..said("") },
    ] {
        assert_eq!(flaws(&exchange), None);
    }
}

/// After two hundred good answers, a bad one in so many: how many answers it takes until the rule is told.
fn takes(bad: &Exchange, every: usize, most: usize) -> Option<(usize, String, String)> {
    let mut detector = Output::new();
    for _ in 0..200 {
        assert_eq!(told(&mut detector, &said("{}")), []);
    }
    (1..=most).find_map(|number| {
        let exchange = if number % every == 0 { bad.clone() } else { said("{}") };
        told(&mut detector, &exchange).into_iter().next().map(|(rule, title)| (number, rule, title))
    })
}

#[test]
fn jumps_are_told() {
    let (number, rule, title) = takes(&ended("length"), 4, 100).expect("a quarter is no chance");
    assert_eq!((rule.as_str(), number), ("output.truncated", 20));
    assert_eq!(title, "5 of the last 20 answers of `gpt-4o` are cut off at the token limit (before: 0 of 200)");
    for (bad, rule) in [
        (said("I can't help with that."), "output.refusals"),
        (ended("SAFETY"), "output.filtered"),
        (said("No JSON."), "output.unparsable"),
    ] {
        let (number, found, _) = takes(&bad, 2, 100).expect("half is no chance");
        assert!(found == rule && number <= 20, "{found} {number}");
    }
}

#[test]
fn what_was_always_so_or_is_rare_is_not_told() {
    assert_eq!(takes(&ended("length"), 25, 5000), None, "four percent is below the floor");
    let mut detector = Output::new();
    for number in 0..3000 {
        let exchange = if number % 3 == 0 { ended("length") } else { said("{}") };
        assert_eq!(told(&mut detector, &exchange), [], "a third from the start is a figure, no finding");
    }
}

#[test]
fn it_survives_a_restart_and_nonsense() {
    let mut detector = Output::new();
    let mut kept = Vec::new();
    for _ in 0..200 {
        told(&mut detector, &said("{}"));
        detector.changes(&mut |change| kept = vec![(change.key.clone(), change.text())]);
    }
    let [(key, Some(value))] = kept.as_slice() else { panic!("one site: {kept:?}") };
    assert!(value.len() < 200, "{value}");
    let mut restarted = Output::new();
    for (key, value) in [
        (key.as_str(), "{}"),
        (key, "[]"),
        ("zz", value),
        (key, r#"{"answers":1,"rates":[[9,1,0,0,0],[0,0,0,0,0],[0,0,0,0,0],[0,0,0,0,0]],"since_ns":[0,0,0,0]}"#),
    ] {
        restarted.restore(key, value);
        assert!(restarted.sites.is_empty());
    }
    restarted.restore(key, value);
    let hits: Vec<_> = (0..10).flat_map(|_| told(&mut restarted, &ended("length"))).collect();
    assert_eq!(hits.len(), 6, "from the fifth on");
}
