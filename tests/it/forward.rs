//! The forwarding model against the kernel itself: random rules and tables in a namespace, and for every destination
//! of interest the kernel's own answer (`ip route get fibmatch`) beside the model's.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use calico_exporter::audit::forward::{Outcome, Packet, decide};
use calico_exporter::model::{Family, TABLE_MAIN, host_net};
use calico_exporter::source::netlink;
use calico_exporter::state::State;
use fastrand::Rng;

use crate::support::netns::{Namespace, in_namespace};

/// Worlds of a run, where nothing else is asked for: about 300 questions each.
const WORLDS: u64 = 12;

/// What differs between the families.
struct Kind {
    family: Family,
    option: &'static str,
    bits: u8,
    destinations: &'static [&'static str],
    sources: &'static [&'static str],
    gateway: &'static str,
    own: &'static str,
    pod: &'static str,
}

const V4: Kind = Kind {
    family: Family::V4,
    option: "-4",
    bits: 32,
    destinations: &[
        "default",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.1.2.0/26",
        "10.1.2.64/26",
        "10.1.2.7/32",
        "172.16.0.0/12",
    ],
    sources: &["10.9.0.0/16", "10.9.0.4/32", "192.0.2.0/24", "0.0.0.0/0", "203.0.113.0/24"],
    gateway: "192.0.2.9",
    own: "192.0.2.1",
    pod: "10.9.0.4",
};

const V6: Kind = Kind {
    family: Family::V6,
    option: "-6",
    bits: 128,
    destinations: &[
        "default",
        "fd01::/16",
        "fd01:1::/32",
        "fd01:1:2::/48",
        "fd01:1:2:3::/64",
        "fd01:1:2:3::40/122",
        "fd01:1:2:3::7/128",
        "fd77::/16",
    ],
    sources: &["fd09::/16", "fd09::4/128", "fd00:2::/64", "::/0", "fd0b::/16"],
    gateway: "fd00:2::9",
    own: "fd00:2::1",
    pod: "fd09::4",
};

const TABLES: [u32; 3] = [TABLE_MAIN, 52, 100];
const DEVICES: [&str; 3] = ["e0", "e1", "cali1"];

fn pick<'a, T>(random: &mut Rng, from: &'a [T]) -> &'a T {
    &from[random.usize(..from.len())]
}

/// Lines of `ip -batch` that make a world; some may be refused.
fn world(kind: &Kind, random: &mut Rng) -> String {
    let mut lines = String::new();
    for _ in 0..random.usize(4..24) {
        let (table, destination) = (pick(random, &TABLES), pick(random, kind.destinations));
        let metric = if random.bool() { format!(" metric {}", random.u32(1..4)) } else { String::new() };
        let way = match random.u8(..8) {
            0 => format!("blackhole {destination}"),
            1 => format!("unreachable {destination}"),
            2 => format!("prohibit {destination}"),
            3 => format!("throw {destination}"),
            4 => format!("{destination} via {} dev e0", kind.gateway),
            _ => format!("{destination} dev {}", pick(random, &DEVICES)),
        };
        lines += &format!("route add {way} table {table}{metric}\n");
    }
    let mut priorities: Vec<u32> = (0..random.usize(0..8)).map(|_| random.u32(1..32760)).collect();
    priorities.sort_unstable();
    priorities.dedup();
    for (at, priority) in priorities.iter().enumerate() {
        let mut rule = format!("rule add pref {priority}");
        if random.u8(..6) == 0 {
            rule = format!("rule add not pref {priority}");
        }
        if random.u8(..3) == 0 {
            rule += &format!(" from {}", pick(random, kind.sources));
        }
        if random.u8(..3) == 0 {
            let to = pick(random, &kind.destinations[1..]);
            rule += &format!(" to {to}");
        }
        if random.u8(..4) == 0 {
            rule += *pick(random, &[" fwmark 0x1/0x1", " fwmark 0x100/0x300", " fwmark 0x7"]);
        }
        if random.u8(..5) == 0 {
            rule += *pick(random, &[" iif lo", " iif cali1", " iif e1", " iif nothere0"]);
        }
        let later: Vec<u32> =
            priorities[at + 1..].iter().copied().chain([32766, 31]).filter(|it| it > priority).collect();
        rule += &match random.u8(..10) {
            0 => " blackhole".to_owned(),
            1 => " unreachable".to_owned(),
            2 => " prohibit".to_owned(),
            3 => format!(" goto {}", pick(random, &later)),
            4 => " nop".to_owned(),
            5 => format!(" lookup {} suppress_prefixlength {}", pick(random, &TABLES), pick(random, &[0, 8, 24])),
            _ => format!(" lookup {}", pick(random, &TABLES)),
        };
        lines += &format!("{rule}\n");
    }
    lines
}

/// Runs `ip -batch`, going on after what fails; returns its output and the numbers of the lines that failed.
fn batch(namespace: &Namespace, option: &str, lines: &str) -> (Vec<String>, HashSet<usize>) {
    let mut command = namespace.command("ip");
    command.args([option, "-o", "-force", "-batch", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = lines.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let failed = errors.lines().filter_map(|line| line.strip_prefix("Command failed -:")?.parse().ok()).collect();
    (String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect(), failed)
}

/// `TYPE DESTINATION … table T … metric M` as `(destination, table, metric)`.
fn answer(kind: &Kind, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |name: &str| words.iter().position(|it| *it == name).map(|at| words[at + 1]);
    if words[0] == "local" || after("table") == Some("local") {
        return "here".to_owned();
    }
    let destination = match words[0] {
        "default" => if kind.family == Family::V4 { "0.0.0.0/0" } else { "::/0" }.to_owned(),
        text if text.contains('/') => text.to_owned(),
        text => format!("{text}/{}", kind.bits),
    };
    let metric = after("metric").unwrap_or("0");
    format!("{destination} table {} metric {metric} dev {}", after("table").unwrap_or("254"), after("dev").unwrap())
}

fn model(state: &State, kind: &Kind, packet: &Packet) -> String {
    match decide(&state.kernel, state.tunnels.rules(kind.family), packet).outcome {
        Outcome::Here => "here".to_owned(),
        Outcome::By(route) if route.kind.has_next_hops() => format!(
            "{} table {} metric {} dev {}",
            route.destination,
            route.table,
            route.metric,
            route.next_hops[0].device.as_deref().unwrap()
        ),
        Outcome::By(_) | Outcome::Refused | Outcome::Nowhere => "no way".to_owned(),
    }
}

/// Addresses inside and just beside every destination that there may be.
fn questions(kind: &Kind) -> Vec<IpAddr> {
    let mut addresses = BTreeSet::new();
    for net in kind.destinations[1..].iter().map(|it| it.parse::<ipnet::IpNet>().unwrap()) {
        addresses.insert(net.addr());
        match net {
            ipnet::IpNet::V4(net) => {
                addresses.insert(IpAddr::V4(u32::from(net.network()).wrapping_add(7).into()));
                addresses.insert(IpAddr::V4(u32::from(net.broadcast()).wrapping_add(1).into()));
                addresses.insert(net.broadcast().into());
            }
            ipnet::IpNet::V6(net) => {
                addresses.insert(IpAddr::V6(u128::from(net.network()).wrapping_add(7).into()));
                addresses.insert(IpAddr::V6(u128::from(net.broadcast()).wrapping_add(1).into()));
                addresses.insert(net.broadcast().into());
            }
        }
    }
    addresses.insert(kind.own.parse().unwrap());
    addresses.insert(kind.gateway.parse().unwrap());
    addresses.into_iter().collect()
}

async fn read() -> State {
    let mut state = State::new(false);
    for event in netlink::snapshot().await.unwrap().into_iter().chain(netlink::tunnels_snapshot().await.unwrap()) {
        state.apply(event, Duration::ZERO);
    }
    state
}

/// Compares all answers of a world; returns how many questions there were, and how many of them had a way.
async fn compare(namespace: &Namespace, kind: &Kind, seed: u64) -> (usize, usize) {
    let mut random = Rng::with_seed(seed);
    namespace.script(&format!(
        "for t in {}; do ip {o} route flush table $t; done; ip {o} rule flush; ip {o} rule add pref 0 lookup local; \
         ip {o} rule add pref 32766 lookup main; ip addr flush dev e0; ip addr add {own}/{length} dev e0 nodad",
        TABLES.map(|it| it.to_string()).join(" "),
        o = kind.option,
        own = kind.own,
        length = if kind.family == Family::V4 { 24 } else { 64 },
    ));
    // IPv6 makes the local route of a new address in a work queue (`addrconf_dad_work`).
    let own = format!("route show table local {}", kind.own);
    let is_there = || !batch(namespace, kind.option, &own).0.is_empty();
    for attempt in 0.. {
        if is_there() {
            break;
        }
        assert!(attempt < 1000, "no local route of {}", kind.own);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let made = world(kind, &mut random);
    batch(namespace, kind.option, &made);
    let state = read().await;
    let mut asked = Vec::new();
    for to in questions(kind) {
        for mark in [0u32, 1, 7, 0x100] {
            let of_host = Packet { mark, ..Packet::of_host(host_net(to)) };
            asked.push((of_host, format!("route get fibmatch {to} mark {mark}")));
            let own: IpAddr = kind.own.parse().unwrap();
            let bound = Packet { from: Some(own), mark, ..Packet::of_host(host_net(to)) };
            asked.push((bound, format!("route get fibmatch {to} from {own} mark {mark}")));
            let pod: IpAddr = kind.pod.parse().unwrap();
            let of_pod = Packet { mark, ..Packet::of_pod(host_net(to), pod, "cali1".into()) };
            asked.push((of_pod, format!("route get fibmatch {to} from {pod} iif cali1 mark {mark}")));
        }
    }
    let lines: String = asked.iter().map(|(_, line)| format!("{line}\n")).collect();
    let (answers, failed) = batch(namespace, kind.option, &lines);
    assert_eq!(answers.len() + failed.len(), asked.len(), "{answers:?}");
    let mut answers = answers.iter();
    for (number, (packet, line)) in (1..).zip(&asked) {
        let kernel = match failed.contains(&number) {
            true => "no way".to_owned(),
            false => answer(kind, answers.next().unwrap()),
        };
        let rules = state.tunnels.rules(kind.family);
        assert_eq!(model(&state, kind, packet), kernel, "seed {seed}: {line}\n{made}{rules:#?}");
    }
    (asked.len(), asked.len() - failed.len())
}

fn worlds(kind: &'static Kind, worlds: u64) {
    in_namespace(async move |namespace| {
        for device in DEVICES {
            namespace.ip(&format!("link add {device} type veth peer name {device}p"));
            namespace.ip(&format!("link set {device}p up"));
            namespace.ip(&format!("link set {device} up"));
        }
        namespace.script(
            "cd /proc/sys/net; echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding; \
             for f in ipv4/conf/*/rp_filter; do echo 0 > $f; done; ip link set lo up",
        );
        let (mut questions, mut ways) = (0, 0);
        for seed in 0..worlds {
            let (asked, found) = compare(&namespace, kind, seed).await;
            (questions, ways) = (questions + asked, ways + found);
        }
        // Worlds in which all is dropped, or nothing is, would show little.
        assert!((questions / 10..questions * 9 / 10).contains(&ways), "{ways} of {questions}");
        eprintln!("{questions} questions, {ways} with a way, no disagreement");
    });
}

#[test]
fn the_kernel_agrees_on_ipv4() {
    worlds(&V4, WORLDS);
}

#[test]
fn the_kernel_agrees_on_ipv6() {
    worlds(&V6, WORLDS);
}

/// `FORWARD_WORLDS=400 cargo test --test it -- --ignored --nocapture forward`.
#[test]
#[ignore = "it takes minutes"]
fn the_kernel_agrees_on_very_many() {
    let number = std::env::var("FORWARD_WORLDS").ok().and_then(|it| it.parse().ok()).unwrap_or(400);
    worlds(&V4, number);
    worlds(&V6, number);
}
