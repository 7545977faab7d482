//! Made-up process tables, and what is told of them.

use std::net::Ipv4Addr;

use zerocopy::IntoBytes as _;

use super::*;
use crate::sources::{
    Origin,
    coverage::{How, TlsFile},
};

const SECOND: u64 = 1_000_000_000;
const OPENAI: &str = "api.openai.com";
const ANTHROPIC: &str = "api.anthropic.com";

/// Processes by id, each with the hosts file and the files that it has.
#[derive(Default)]
struct Table {
    hosts: Vec<(IpAddr, &'static str)>,
    processes: HashMap<u32, Vec<How>>,
    looks: usize,
}

impl World for Table {
    fn hosts(&mut self, _pid: u32, address: IpAddr) -> Vec<Arc<str>> {
        self.hosts.iter().filter(|(at, _)| *at == address).map(|(_, name)| (*name).into()).collect()
    }

    fn look(&mut self, pid: u32) -> Option<Look> {
        self.looks += 1;
        let files = self.processes.get(&pid)?;
        let file = |how: &How| TlsFile { file: "/lib/x.so".to_owned(), how: how.clone() };
        Some(Look {
            origin: Origin { pid, ..Origin::default() },
            executable: format!("/bin/{}", pid / 10),
            inode: (1, u64::from(pid / 10)),
            files: files.iter().map(file).collect(),
        })
    }
}

fn attached() -> How {
    How::Attached { stack: "OpenSSL".to_owned() }
}

fn java() -> How {
    How::NotSeen { stack: "Java (JSSE)".to_owned() }
}

fn refused() -> How {
    How::Refused { stack: "BoringSSL".to_owned(), why: "two places match".to_owned() }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn connected(pid: u32, last: u8) -> Event {
    Event::Connected { pid, to: SocketAddr::new(address(last), 443) }
}

fn named(pid: u32, host: &str) -> Event {
    Event::Named { pid, host: Some(host.into()) }
}

/// What is told of these events, a second apart, and of what is left when all is over: process, hosts, how the process is seen.
fn told(table: &mut Table, events: Vec<Event>) -> Vec<(u32, String, Seen)> {
    let mut coverage = Coverage::new();
    let mut unseen = Vec::new();
    let mut now = Timestamp(SECOND);
    for event in events {
        unseen.extend(coverage.settled(now, table));
        unseen.extend(coverage.take(event, now, table));
        now = Timestamp(now.0 + SECOND);
    }
    unseen.extend(coverage.settled(Timestamp(u64::MAX), table));
    assert!(!coverage.is_waiting());
    unseen.into_iter().map(|one| (one.look.origin.pid, one.hosts.join(" "), one.look.seen())).collect()
}

/// OpenAI at .1, both at .2 (a shared address), by the hosts file.
fn table(processes: impl IntoIterator<Item = (u32, Vec<How>)>) -> Table {
    Table {
        hosts: vec![(address(1), OPENAI), (address(2), ANTHROPIC), (address(2), OPENAI)],
        processes: processes.into_iter().collect(),
        looks: 0,
    }
}

#[test]
fn a_process_that_goes_past_the_tap_is_told_and_how() {
    for (files, seen) in [
        (vec![java()], Seen::NotSeen),
        (vec![refused()], Seen::Refused),
        (vec![java(), refused()], Seen::Refused),
        (vec![attached(), java()], Seen::InPart),
        (Vec::new(), Seen::Unknown),
    ] {
        let mut table = table([(10, files)]);
        assert_eq!(told(&mut table, vec![connected(10, 1)]), [(10, OPENAI.to_owned(), seen)]);
    }
}

#[test]
fn what_is_tapped_or_no_vendor_is_not_told() {
    let cases = [
        ("every library in it is tapped", vec![attached()], vec![connected(10, 1)]),
        ("another address", vec![java()], vec![connected(10, 9)]),
        ("another port", vec![java()], vec![Event::Connected { pid: 10, to: SocketAddr::new(address(1), 5432) }]),
        ("seen after it connected", vec![attached(), java()], vec![connected(10, 1), named(10, OPENAI)]),
        ("seen before it connected", vec![attached(), java()], vec![named(10, OPENAI), connected(10, 1)]),
        ("one of the hosts there is seen", vec![attached(), java()], vec![connected(10, 2), named(10, OPENAI)]),
        (
            "seen long before",
            vec![attached(), java()],
            vec![
                named(10, OPENAI),
                connected(11, 9),
                connected(11, 8),
                connected(11, 7),
                connected(11, 6),
                connected(10, 1),
            ],
        ),
        ("gone before anybody could look", vec![java()], vec![connected(99, 1)]),
    ];
    for (why, files, events) in cases {
        assert_eq!(told(&mut table([(10, files)]), events), [], "{why}");
    }
}

#[test]
fn one_executable_and_one_set_of_hosts_are_told_once() {
    let mut table = table([(10, vec![java()]), (11, vec![java()]), (20, vec![java()])]);
    let events = vec![connected(10, 1), connected(11, 1), connected(20, 1), connected(10, 2), connected(10, 1)];
    let both = format!("{ANTHROPIC} {OPENAI}");
    let mut all = told(&mut table, events);
    all.sort_by_key(|(pid, hosts, _)| (*pid, hosts.len()));
    // 10 and 11 are one executable: whichever is judged first speaks for both.
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.iter().any(|(_, hosts, _)| *hosts == both) && all.iter().any(|(pid, ..)| *pid == 20), "{all:?}");
}

#[test]
fn addresses_are_learned_from_what_is_tapped() {
    let processes = || [(10, vec![attached()]), (20, vec![java()])];
    let later = [connected(30, 9), connected(30, 8), connected(30, 7), connected(30, 6)];
    let run = |first: Vec<Event>| {
        let events = first.into_iter().chain(later.clone()).chain([connected(20, 5)]).collect();
        told(&mut table(processes()), events).into_iter().map(|(pid, hosts, _)| (pid, hosts)).collect::<Vec<_>>()
    };
    let found = [(20, OPENAI.to_owned())];
    assert_eq!(run(vec![connected(10, 5), named(10, OPENAI)]), found);
    assert_eq!(run(vec![named(10, OPENAI), connected(10, 5)]), found);
    let other = Event::Named { pid: 10, host: None };
    for not_clear in [
        vec![connected(10, 5), connected(10, 4), named(10, OPENAI)],
        vec![connected(10, 5), named(10, OPENAI), named(10, ANTHROPIC)],
        vec![connected(10, 5), named(10, OPENAI), other.clone()],
        vec![connected(10, 5), other],
        vec![connected(10, 5)],
        vec![named(10, OPENAI)],
    ] {
        assert_eq!(run(not_clear.clone()), [], "{not_clear:?}");
    }
    // A port that somebody else uses is another place.
    let gateway = Event::Connected { pid: 10, to: SocketAddr::new(address(5), 8443) };
    assert_eq!(run(vec![gateway, named(10, OPENAI)]), []);
}

#[test]
fn a_process_that_ends_at_once_is_judged_by_the_first_look() {
    let mut table = table([(10, vec![java()])]);
    let mut coverage = Coverage::new();
    assert_eq!(coverage.take(connected(10, 1), Timestamp(SECOND), &mut table), []);
    table.processes.clear();
    let told = coverage.take(Event::Exited { pid: 10 }, Timestamp(SECOND + 1), &mut table);
    assert_eq!((told.len(), told[0].look.seen()), (1, Seen::NotSeen));
    assert_eq!((told[0].to, told[0].known_by), (SocketAddr::new(address(1), 443), KnownBy::HostsFile));
    assert_eq!(coverage.take_missed(), 0);
}

#[test]
fn a_process_that_was_seen_is_not_looked_at_again() {
    let mut table = table([(10, vec![attached(), java()])]);
    let mut events = vec![named(10, OPENAI)];
    events.extend((0..20).map(|_| connected(10, 1)));
    assert_eq!(told(&mut table, events), []);
    assert_eq!(table.looks, 0);
}

#[test]
fn a_number_that_is_given_anew_is_another_process() {
    let mut table = table([(10, vec![attached(), java()])]);
    let events = vec![named(10, OPENAI), Event::Exited { pid: 10 }, connected(10, 1)];
    assert_eq!(told(&mut table, events), [(10, OPENAI.to_owned(), Seen::InPart)]);
}

#[test]
fn tables_have_bounds_and_what_is_past_them_is_counted() {
    let mut table = table([]);
    let mut coverage = Coverage::new();
    for pid in 0..u32::try_from(BURSTS_MAX).unwrap() + 5 {
        coverage.take(connected(pid, 9), Timestamp(SECOND), &mut table);
    }
    assert_eq!((coverage.bursts.len(), coverage.take_missed()), (BURSTS_MAX, 5));
    assert_eq!(coverage.settled(Timestamp(100 * SECOND), &mut table), []);
    for last in 0..=255 {
        coverage.take(connected(1, last), Timestamp(SECOND), &mut table);
    }
    assert!(coverage.bursts[&1].crowded && coverage.bursts[&1].connects.len() == CONNECTS_MAX);
}

#[test]
fn an_address_in_the_form_of_the_other_family_is_the_same() {
    let mut table = table([(10, vec![java()])]);
    let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
    let events = vec![Event::Connected { pid: 10, to: SocketAddr::new(mapped.into(), 443) }];
    assert_eq!(told(&mut table, events).len(), 1);
}

#[test]
fn addresses_are_in_the_order_of_the_network() {
    let event = |family, bytes: [u8; 16]| {
        let halves: [[u8; 8]; 2] = [bytes[..8].try_into().unwrap(), bytes[8..].try_into().unwrap()];
        let peer = Peer { family, port: 443, reserved: 0, address: halves.map(u64::from_ne_bytes) };
        Event::connected(7, peer.as_bytes())
    };
    let to = |text: &str| Some(Event::Connected { pid: 7, to: text.parse().unwrap() });
    let mut four = [0; 16];
    four[..4].copy_from_slice(&[192, 0, 2, 1]);
    assert_eq!(event(family::INET, four), to("192.0.2.1:443"));
    let six: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    assert_eq!(event(family::INET6, six.octets()), to("[2001:db8::7]:443"));
    assert_eq!(event(0, four), None);
    assert_eq!(Event::connected(7, &[0; 23]), None);
}
