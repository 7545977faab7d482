//! A finding of every kind, made by the detectors that make them in the field. Enters: nothing. Leaves: findings with a name that says
//! what is special about each. All data is invented.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use outflow::{
    config::Config,
    detectors::{
        Detector, Hit,
        budget::BudgetWatch,
        pinning::Pinning,
        resolved_model::ResolvedModel,
        retrieval::Retrieval,
        scan::{RuleSet, ScanDetector},
        untracked_spend::UntrackedSpend,
    },
    exchange::{Api, Catalogue, Exchange, Prices, RetrievalFacts, Usage, Vector},
    findings::{
        Activity, Category, Finding, FingerprintKey, FleetStale, Kubernetes, Maker, Policy, store_damaged, store_full,
        store_refused,
    },
    rules::{ModelRules, RuleSource, scan},
    sources::{
        Origin,
        coverage::{How, KnownBy, Look, TlsFile, Unseen},
        handshake::FailedHandshake,
        log::{LogBlock, LogFile},
        tail::{Gap, GapReason},
    },
    units::{NanoUsd, Timestamp},
};

use crate::schema::{exchange, second_choice, unnamed};

/// Rules of each sort of data.
const RULES: [&str; 3] = ["pii.email", "pii.credit-card", "secret.openai-api-key"];

/// What the rules find, one each.
const PROMPT: &str = "write to jane.doe@outflow-fake.net, her card is 4111 1111 1111 1111, key \
     sk-proj-OutflowFakewk59pfKL0jFi2YYvLBpEGbpRuHrzDSVdqUC8DwRDe03wkPM15uelHuoUzaZhX4lT3BlbkFJOutflowFakep4aZuDig1ohQTTIDVrZfrytORAzb3do7gwiqTuLMos6ecjsro5K0a8uCI0QrHsb";

/// A finding and what is special about it.
pub(crate) type Sample = (String, Finding);

/// One at least of each kind, as detectors make them.
pub(crate) fn kinds() -> Vec<Sample> {
    let mut samples = behaviours();
    samples.extend(leaks());
    samples.extend(gaps());
    samples.extend(unseen());
    samples.extend(store_losses());
    samples.push(stale_fleet());
    samples
}

/// Of each rule that no simulated traffic has.
pub(crate) fn not_simulated() -> Vec<Sample> {
    let mut retrieval = Retrieval::new(Arc::default());
    let mut samples = Vec::new();
    for second in 0..130 {
        // From the hundredth on all searches find the same, and pieces are three times as long.
        let is_late = second >= 100;
        let mut call = exchange("", "");
        (call.request_model, call.response_model) = (None, None);
        call.vendor = Some("qdrant".into());
        (call.host, call.path) = ("abc.cloud.qdrant.io".into(), "/collections/notes/points/query".into());
        (call.api, call.asking.body_digest) = (Api::VectorQuery, Some(second));
        call.started_at.0 += second * 1_000_000_000;
        call.ended_at = Timestamp(call.started_at.0 + 100_000_000);
        let mut piece = call.clone();
        call.retrieval = Some(Box::new(RetrievalFacts {
            index: Some("notes".into()),
            vectors: vec![Vector { digest: second, dimensions: 1536 }],
            matches: Some(3),
            matches_digest: Some(if is_late { 7 } else { second }),
            ..RetrievalFacts::default()
        }));
        samples.extend(inspect(&mut retrieval, &call));
        (piece.vendor, piece.api) = (Some("openai".into()), Api::Embeddings);
        (piece.host, piece.path) = ("api.openai.com".into(), "/v1/embeddings".into());
        piece.request_model = Some("text-embedding-3-small".into());
        // A little apart, as pieces are.
        let bytes = if is_late { 3000 } else { 1000 } * (90 + second * 7 % 21) / 100;
        piece.retrieval = Some(Box::new(RetrievalFacts {
            items: 2,
            input_bytes: 2 * bytes,
            vectors: [second, second + 1].map(|digest| Vector { digest, dimensions: 8 }).into(),
            ..RetrievalFacts::default()
        }));
        samples.extend(inspect(&mut retrieval, &piece));
    }
    let at = Timestamp(1_795_392_000_000_000_000);
    for refused in [None, Some(10)] {
        let origin =
            Arc::new(Origin { pid: 7, process: "python3".into(), service: "shop".into(), ..Origin::default() });
        let failed = FailedHandshake { at, origin, host: "api.openai.com".into(), refused, failed: 5, since: at };
        let finding = maker().handshake(&failed, Some("openai"), &Policy::default());
        samples.push((format!("{}: {}", finding.rule.id, finding.title), finding));
    }
    samples
}

/// These, and two of them with more and with less known about them.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples = kinds();
    let (_, unpinned) = samples.iter().find(|(name, _)| name.starts_with("model.unpinned")).cloned().unwrap();
    let (_, leak) = samples.iter().find(|(name, _)| name.starts_with("pii.email in a call")).cloned().unwrap();
    samples.extend(variants(&unpinned));
    samples.extend(variants(&leak));
    samples
}

fn maker() -> Maker {
    Maker::new(FingerprintKey::new([1; 32]))
}

fn behaviours() -> Vec<Sample> {
    let mut detectors: Vec<Box<dyn Detector>> = vec![
        Box::new(Pinning::new(Arc::new(ModelRules::load(&RuleSource::Embedded).unwrap()))),
        Box::new(ResolvedModel::new()),
        Box::new(UntrackedSpend),
    ];
    let stream = Exchange { streaming: true, usage: Usage::default(), ..exchange("gpt-4o", "gpt-4o") };
    let calls = vec![
        exchange("gpt-4", "gpt-4-0613"),
        exchange("gpt-4o", "gpt-4o-2024-08-06"),
        exchange("gpt-4o", "gpt-4o-2024-11-20"),
        exchange("gpt-4o", "gpt-4o-2024-11-20"),
        exchange("gpt-4o", "gpt-4o-2024-08-06"),
        exchange("gpt-4o", "gpt-4o-mini"),
        exchange("acme-private-1", "acme-private-1"),
        stream,
        exchange("text-embedding-3-small", "text-embedding-3-small"),
        second_choice(),
        unnamed(),
    ];
    let mut seen = Vec::new();
    for call in &calls {
        for detector in &mut detectors {
            seen.extend(inspect(detector.as_mut(), call));
        }
    }
    // A loop, five cents every 30 seconds, and then one call that is more than the budget of a day.
    let budget = Config::parse("x", "[[budget]]\nservice = \"*\"\nlimit_usd = 10\n").unwrap().budgets();
    let mut budgets = BudgetWatch::new(budget);
    for number in 0..=60 {
        let mut call = exchange("gpt-4o-2024-08-06", "gpt-4o-2024-08-06");
        call.ended_at = Timestamp(call.ended_at.0 + number * 30_000_000_000);
        call.reported_cost = Some(NanoUsd(if number < 60 { 50_000_000 } else { 25_000_000_000 }));
        seen.extend(inspect(&mut budgets, &call));
    }
    seen
}

fn inspect(detector: &mut dyn Detector, call: &Exchange) -> Vec<Sample> {
    let call = &Exchange { cost: Catalogue::bundled().price(call), ..call.clone() };
    let (maker, mut seen) = (maker(), Vec::new());
    detector.inspect(call, &mut |hit| seen.push(maker.occurrence(&hit, call.ended_at, call.cost.as_ref())));
    seen.into_iter().map(|finding| (format!("{}: {}", finding.rule.id, finding.title), finding)).collect()
}

fn leaks() -> Vec<Sample> {
    let rules = scan::load(&RuleSource::Embedded).unwrap();
    let rules = rules.into_iter().filter(|loaded| RULES.contains(&loaded.rule.id.as_str())).collect();
    let mut detector = ScanDetector::new(RuleSet::compile(rules).unwrap()).unwrap();
    let mut call = exchange("gpt-4o-2024-08-06", "gpt-4o-2024-08-06");
    call.request_text.push("$.messages[0].content", PROMPT);
    call.response_text.push("$.choices[0].message.content", "as you said: jane.doe@outflow-fake.net");
    let mut samples = named("in a call", inspect(&mut detector, &call));

    let mut unread = call.clone();
    unread.view.request_unread_bytes = 4;
    samples.extend(named("in a call that was seen in part", inspect(&mut detector, &unread)));

    let file = LogFile {
        path: "/var/log/shop/app.log".into(),
        origin: Arc::new(Origin { service: "shop".into(), ..Origin::default() }),
        ..LogFile::default()
    };
    let bytes = Bytes::from(format!("one\n{PROMPT}\n"));
    let block = LogBlock { first_line: 41, ..LogBlock::whole(Arc::new(file), bytes, call.started_at) };
    let (maker, mut seen) = (maker(), Vec::new());
    detector.inspect_log(&block, &mut |hit: Hit<'_>| seen.push(maker.occurrence(&hit, block.at, None)));
    samples.extend(seen.into_iter().map(|finding| (format!("{} in a log", finding.rule.id), finding)));
    samples
}

fn named(place: &str, samples: Vec<Sample>) -> Vec<Sample> {
    samples.into_iter().map(|(_, finding)| (format!("{} {place}", finding.rule.id), finding)).collect()
}

fn store_losses() -> Vec<Sample> {
    let (store, at, policy) =
        (Path::new("/var/lib/outflow/outflow.db"), Timestamp(1_800_000_000_000_000_000), Policy::default());
    let aside = Path::new("/var/lib/outflow/outflow.db.damaged-20261126T100000Z");
    let losses = [
        store_full(store, (500, 12), 1 << 30, at, &policy),
        store_refused(store, 40, 1 << 30, at, &policy),
        store_damaged(store, aside, "database disk image is malformed", at, &policy),
    ];
    losses.into_iter().map(|finding| (format!("{}: {}", finding.rule.id, finding.title), finding)).collect()
}

fn stale_fleet() -> Sample {
    let stale = FleetStale {
        topic: "outflow.budgets".to_owned(),
        as_of: Some(Timestamp(1_799_999_000_000_000_000)),
        stale_after_seconds: 120,
        reason: Some("no broker can be reached".to_owned()),
        budgets: vec!["chat, whole fleet".to_owned()],
        enforces: true,
    };
    let finding = stale.finding(Timestamp(1_800_000_000_000_000_000), &Policy::default());
    (finding.rule.id.clone(), finding)
}

fn gaps() -> Vec<Sample> {
    let origin = Arc::new(Origin { service: "shop".into(), ..Origin::default() });
    let file = LogFile { path: "/var/log/shop/app.log".into(), origin, ..LogFile::default() };
    let gaps = [(GapReason::Truncated, 4096), (GapReason::Gone, 0)].map(|(reason, known_bytes)| {
        let (from, until) = (Timestamp(1_795_392_000_000_000_000), Timestamp(1_795_392_001_500_000_000));
        maker().gap(&file, &Gap { reason, offset: 8192, known_bytes, from, until }, until, &Policy::default())
    });
    gaps.into_iter().map(|finding| (format!("{}: {}", finding.rule.id, finding.title), finding)).collect()
}

fn variants(finding: &Finding) -> Vec<Sample> {
    let id = &finding.rule.id;
    let mut variants = Vec::new();
    let mut add = |what: &str, change: &dyn Fn(&mut Finding)| {
        let mut changed = finding.clone();
        change(&mut changed);
        variants.push((format!("{id}, {what}"), changed));
    };
    add("seen again", &|finding| {
        finding.absorb(Finding { last_seen: "2026-11-23T00:00:59.999Z".into(), ..finding.clone() }, false);
        finding.revise(2, Activity::Update);
    });
    add("over", &|finding| finding.revise(3, Activity::Close));
    add("no container", &|finding| finding.process.container = None);
    add("no process", &|finding| finding.process.pid = 0);
    for (what, pid) in [("in Kubernetes", 7), ("in Kubernetes, no process", 0)] {
        add(what, &|finding| {
            finding.process.pid = pid;
            finding.process.pod = Some("0f1e2d3c".into());
            finding.process.unit = Some("shop.service".into());
            finding.process.feature = Some("checkout".into());
            finding.process.kubernetes =
                Some(Kubernetes { namespace: "shop".into(), pod: "shop-1".into(), container: "app".into() });
        });
    }
    add("nothing of a process", &|finding| {
        finding.process.pid = 0;
        finding.process.name.clear();
        finding.process.service.clear();
        finding.process.container = None;
    });
    add("no destination and no model", &|finding| {
        finding.destination = None;
        finding.model = None;
        finding.coverage = None;
    });
    add("a host that no file lists", &|finding| {
        let destination = finding.destination.as_mut().unwrap();
        destination.vendor = None;
        destination.host = "llm.example.internal:8443".into();
    });
    for host in ["127.0.0.1:11434", "[2001:db8::7]:443", "2001:db8::7", "•••", ""] {
        add(&format!("to the host {host:?}"), &|finding| finding.destination.as_mut().unwrap().host = host.into());
    }
    add("another kind of call", &|finding| {
        finding.destination.as_mut().unwrap().api = Api::CountTokens.as_str().into();
    });
    let categories = [
        Category::Leak,
        Category::Model,
        Category::Cost,
        Category::Agent,
        Category::Tool,
        Category::Retrieval,
        Category::Vendor,
        Category::Output,
        Category::Coverage,
    ];
    for category in categories {
        add(&format!("a rule of another version, {}", category.as_str()), &|finding| {
            finding.category = category;
            finding.rule.id = "another.version".into();
        });
    }
    add("counted beyond 32 bits", &|finding| finding.count = u64::MAX);
    variants
}

/// A process that the tap cannot see, and one that it refused.
fn unseen() -> Vec<Sample> {
    let ways = [
        How::NotSeen { stack: "Java (JSSE)".into() },
        How::Refused { stack: "BoringSSL".into(), why: "two places match".into() },
    ];
    let look = |how| Look {
        origin: Origin {
            pid: 4242,
            process: "java".into(),
            service: "cart".into(),
            container: Some("3f".repeat(6)),
            ..Origin::default()
        },
        executable: "/usr/lib/jvm/java-17/bin/java".into(),
        inode: (1, 2),
        files: vec![TlsFile { file: "/usr/lib/jvm/java-17/lib/server/libjvm.so".into(), how }],
    };
    let unseen = |how| Unseen {
        at: Timestamp(1_800_000_000_000_000_000),
        look: look(how),
        hosts: vec!["api.openai.com".into()],
        to: "192.0.2.1:443".parse().unwrap(),
        known_by: KnownBy::HostsFile,
    };
    let findings = ways.map(|how| maker().unseen(&unseen(how), Some("openai"), &Policy::default()));
    findings.into_iter().map(|finding| (format!("{}: {}", finding.rule.id, finding.title), finding)).collect()
}

/// A finding that is too large for a topic, as it is sent then.
#[cfg(feature = "kafka")]
pub(crate) fn trimmed(finding: &Finding) -> Finding {
    let mut long = finding.clone();
    long.remedy = long.remedy.repeat(20);
    long.attributes.insert("tool.names".to_owned(), vec!["x".repeat(100); 50].into());
    outflow::sinks::kafka::trimmed(&long)
}
