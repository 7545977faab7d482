//! Persons by what a field says of them: their name, their handle, a token that stands in for them. What a name is no rule can
//! tell, so only values of fields that hold names are looked at; free text is not.

use super::super::{Text, Verdict, labels};

/// Words that make a capitalised value the name of a thing.
const THINGS: &[&str] = &[
    "inc",
    "llc",
    "ltd",
    "gmbh",
    "corp",
    "company",
    "service",
    "server",
    "system",
    "default",
    "test",
    "user",
    "admin",
    "the",
    "new",
    "api",
    "database",
    "string",
    "null",
    "none",
    "true",
    "false",
    "undefined",
    "unknown",
    "example",
    "sample",
    "placeholder",
    "name",
    "first",
    "last",
    "your",
    "my",
    "group",
    "team",
    "project",
    "file",
    "table",
    "column",
    "index",
    "model",
    "class",
    "function",
    "object",
    "type",
    "node",
    "cluster",
    "public",
    "private",
    "error",
    "exception",
    "invalid",
    "missing",
    "required",
    "field",
    "windows",
    "linux",
    "ubuntu",
    "google",
    "microsoft",
    "amazon",
    "azure",
    "cloud",
    "data",
    "product",
    "order",
    "app",
    "application",
    "chrome",
    "firefox",
    "safari",
    "edge",
    "department",
    "center",
    "tool",
    "agent",
    "assistant",
    "bot",
    "is",
    "for",
    "of",
    "not",
];
/// Words of a label that say that a name is a person's.
const PERSONS: &[&str] = &[
    "full",
    "first",
    "last",
    "family",
    "given",
    "surname",
    "my",
    "patient",
    "customer",
    "client",
    "employee",
    "contact",
    "guest",
    "recipient",
    "sender",
    "applicant",
    "member",
    "beneficiary",
    "legal",
    "subscriber",
    "owner",
    "passenger",
    "holder",
    "student",
    "teacher",
    "attendee",
    "tenant",
    "buyer",
    "resident",
    "driver",
    "is",
    "was",
    "ist",
    "lautet",
    "est",
    "es",
    "vorname",
    "nachname",
];
/// Words of a label, or of the object that a name stands in, that say that it is no person's.
const OTHER_BEARERS: &[&str] = &[
    "airport",
    "book",
    "brand",
    "building",
    "campaign",
    "category",
    "city",
    "company",
    "country",
    "course",
    "district",
    "event",
    "festival",
    "game",
    "holiday",
    "hotel",
    "item",
    "location",
    "movie",
    "neighborhood",
    "neighbourhood",
    "organisation",
    "organization",
    "park",
    "place",
    "plan",
    "region",
    "repository",
    "restaurant",
    "school",
    "season",
    "shop",
    "song",
    "station",
    "store",
    "street",
    "university",
    "venue",
];
/// Words after `@` that are code, not people.
const CODE: &[&str] = &[
    "param",
    "return",
    "returns",
    "override",
    "test",
    "media",
    "import",
    "property",
    "types",
    "angular",
    "babel",
    "here",
    "channel",
    "everyone",
    "latest",
    "todo",
    "deprecated",
    "author",
    "see",
    "since",
    "throws",
    "autowired",
    "bean",
    "staticmethod",
    "classmethod",
    "example",
    "username",
    "yourhandle",
    "handle",
    "user",
];

/// One to four words, none of them a thing's.
pub(super) fn name(text: &Text<'_>) -> Verdict {
    let Ok(name) = std::str::from_utf8(text.secret()) else { return Verdict::Refused };
    let mut words = name.split([' ', ',', '-']).filter(|word| !word.is_empty());
    let thing = words.any(|word| THINGS.contains(&word.trim_end_matches('.').to_lowercase().as_str()));
    // `Name: FOO BAR` is a constant, `Name: getUser` a function.
    let camel = name.split(' ').any(|word| {
        word.bytes().filter(u8::is_ascii_uppercase).count() > 2 && word.bytes().any(|byte| byte.is_ascii_lowercase())
    });
    let continued = matches!(text.after().first(), Some(b'(' | b'_' | b'/' | b'=' | b'[' | b':' | b'@'))
        || text.after().starts_with(b"::");
    // `class name Foo Bar`: without a mark between, the label must say whose name it is.
    let bare = matches!(text.before(), [.., letter, b' '] if letter.is_ascii_alphabetic());
    let whose = !bare || labels::named(text.before(), PERSONS);
    Verdict::plausible_if(name.len() >= 2 && whose && !thing && !camel && !continued && !is_of_another(text.before()))
}

/// `Holiday name: `, `'location': {'name': '`, but not `"event_owner_name": "`.
fn is_of_another(before: &[u8]) -> bool {
    if labels::named(before, PERSONS) {
        return false;
    }
    labels::named(before, OTHER_BEARERS) || holder(before).is_some_and(|holder| labels::named(holder, OTHER_BEARERS))
}

/// Up to the object whose first field is the name: `{"location": ` of `{"location": {"name": "`.
fn holder(before: &[u8]) -> Option<&[u8]> {
    let end = before.iter().rposition(u8::is_ascii_alphanumeric)?;
    let field = before.get(..=end)?.strip_suffix(b"name")?;
    let brace = field.iter().rposition(|byte| !matches!(byte, b'"' | b'\'' | b'\\' | b' '))?;
    (field.get(brace) == Some(&b'{')).then(|| field.get(..brace)).flatten()
}

/// A handle that is nobody's annotation.
pub(super) fn handle(text: &Text<'_>) -> Verdict {
    let secret = text.secret().to_ascii_lowercase();
    let bare = secret.strip_prefix(b"@").unwrap_or(&secret);
    let code = CODE.iter().any(|word| bare == word.as_bytes());
    let mail =
        matches!(text.after(), [b'@', ..]) || matches!(text.after(), [b'.', next, ..] if next.is_ascii_lowercase());
    let package = text.after().starts_with(b"/");
    Verdict::plausible_if(bare.len() >= 3 && bare.iter().any(u8::is_ascii_alphabetic) && !code && !mail && !package)
}

/// Networks whose domain ends in `.com`, and what follows it where a person's name is not the first part of the path.
const NETWORKS: &[(&str, &str)] = &[
    ("linkedin", "in/"),
    ("facebook", ""),
    ("instagram", ""),
    ("twitter", ""),
    ("tiktok", "@"),
    ("//x", ""),
    ("threads", "@"),
];

/// The name behind a network's domain, and not one of its own pages.
pub(super) fn profile(text: &Text<'_>) -> Verdict {
    const PAGES: [&str; 22] = [
        "home",
        "share",
        "sharer",
        "login",
        "watch",
        "intent",
        "search",
        "explore",
        "about",
        "help",
        "privacy",
        "hashtag",
        "pages",
        "groups",
        "events",
        "reel",
        "developer",
        "developers",
        "policies",
        "legal",
        "settings",
        "plugins",
    ];
    let before = text.before().to_ascii_lowercase();
    let network = NETWORKS.iter().any(|(name, path)| {
        let domain = before.strip_suffix(path.as_bytes()).and_then(|rest| rest.strip_suffix(b".com/"));
        domain.is_some_and(|domain| {
            domain.strip_suffix(name.as_bytes()).is_some_and(|rest| !rest.last().is_some_and(u8::is_ascii_alphanumeric))
        })
    });
    let name = text.secret().to_ascii_lowercase();
    let page = PAGES.iter().any(|page| name == page.as_bytes()) || name.ends_with(b".php");
    Verdict::plausible_if(network && !page && name.iter().any(u8::is_ascii_alphabetic))
}

#[cfg(test)]
mod tests {
    use super::{super::super::check_as, *};

    #[test]
    fn people_and_things() {
        check_as(
            name,
            Verdict::Plausible,
            &["Ada Lovelace", "Jürgen O'Fake", "Lovelace, Ada"],
            &["Default User", "Acme Inc.", "PaymentAPIGateway Fake", "A"],
        );
        for (haystack, start, expected) in [
            ("{'location': {'name': 'San Fakeville", 23, Verdict::Refused),
            (r#"{\"venue\": {\"name\": \"Grand Fakehall"#, 25, Verdict::Refused),
            ("**Holiday Name: \"Fake Sharing", 17, Verdict::Refused),
            ("{'guest': {'name': 'Ada Fakelace", 20, Verdict::Plausible),
            ("event_owner_name: Ada Fakelace", 18, Verdict::Plausible),
            ("name: Ada Fakelace", 6, Verdict::Plausible),
            ("school student name: Ada Fakelace", 21, Verdict::Plausible),
        ] {
            let text = Text { haystack: haystack.as_bytes(), span: start..haystack.len() };
            assert_eq!(name(&text), expected, "{haystack}");
        }
        check_as(handle, Verdict::Plausible, &["@ada_outflow_fake", "outflow.fake"], &["@param", "@ab", "@123456"]);
        for (haystack, start, expected) in [
            ("https://www.linkedin.com/in/ada-fakelace", 28, Verdict::Plausible),
            ("see instagram.com/fake_lovelace", 18, Verdict::Plausible),
            ("https://x.com/fake_lovelace", 14, Verdict::Plausible),
            ("https://fax.com/fake_lovelace", 16, Verdict::Refused),
            ("https://www.facebook.com/sharer.php", 25, Verdict::Refused),
            ("https://www.linkedin.com/jobs", 25, Verdict::Refused),
        ] {
            let text = Text { haystack: haystack.as_bytes(), span: start..haystack.len() };
            assert_eq!(profile(&text), expected, "{haystack}");
        }
        assert_eq!(handle(&Text { haystack: b"@fakescope/pkg", span: 0..10 }), Verdict::Refused);
        assert_eq!(name(&Text { haystack: b"class name Ada Fake", span: 11..19 }), Verdict::Refused);
        assert_eq!(name(&Text { haystack: b"customer name Ada Fake", span: 14..22 }), Verdict::Plausible);
        assert_eq!(name(&Text { haystack: b"Ada Fake(x)", span: 0..8 }), Verdict::Refused);
    }
}
