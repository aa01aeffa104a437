//! The lab: a small Calico network of real parts, in which each alert is seen to fire for its fault, to clear after the
//! repair, and to stay silent through a healthy day.
//!
//! Real are the kernel's routes, etcd, BIRD, the exporters, Prometheus with the shipped rules, and Alertmanager. Stand-ins
//! play Calico's allocator, its CNI plugin, Felix and confd.
//!
//! - without arguments (`cargo test`): the shortened run;
//! - `--whole` (`make lab-test`): all scenarios and the whole healthy day;
//! - `--serve` (`make lab`): the lab stays up until Ctrl-C;
//! - other words: only what has one of them in its name; `healthy` is the healthy day, `panels` the dashboards, `explain`
//!   what that command says of ten faults.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on ends with a panic, and says so")]

mod agents;
mod bird;
mod cache;
mod cage;
mod explain;
mod healthy;
mod ipam;
mod lab;
mod monitoring;
mod network;
mod picture;
mod process;
mod refusal;
mod run;
mod scenarios;
mod store;
mod tools;
mod tunnel;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use cage::Cage;
use lab::Lab;

/// What can be looked at from outside.
const DOORS: [(&str, &str); 6] = [
    ("prometheus", monitoring::PROMETHEUS),
    ("alertmanager", monitoring::ALERTMANAGER),
    ("h1", "172.30.1.11:19179"),
    ("h2", "172.30.1.12:19179"),
    ("h3", "172.30.2.13:19179"),
    ("etcd", "172.30.1.2:2379"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if let [flag, name] = &arguments[..]
        && flag == tunnel::HOLD
    {
        return tunnel::hold(name);
    }
    if let Some(directory) = cage::inside() {
        return if inside(&directory, &arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let plan = plan(&arguments);
    if !plan.serve && !plan.healthy && !plan.panels && !plan.explain && plan.scenarios.is_empty() {
        // `cargo test NAME` names a test of somebody else's.
        return ExitCode::SUCCESS;
    }
    match tools::missing().map_or_else(|| Cage::start(&arguments), Err) {
        Ok(cage) => outside(cage, plan.serve),
        Err(why) if std::env::var_os("CI").is_some() => {
            say(&format!("the lab cannot run: {why}"));
            ExitCode::FAILURE
        }
        Err(why) => {
            say(&format!("\n!!! SKIPPED: the lab cannot run, nothing is tested: {why} !!!\n"));
            ExitCode::SUCCESS
        }
    }
}

/// What to do.
struct Plan {
    serve: bool,
    whole: bool,
    healthy: bool,
    /// Whether the dashboards' queries are asked at the end.
    panels: bool,
    /// Whether `explain` is asked.
    explain: bool,
    scenarios: Vec<run::Scenario>,
}

fn plan(arguments: &[String]) -> Plan {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let (serve, whole) = (has("--serve"), has("--whole"));
    let named = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let explain = !serve && named("explain") && (whole || !words.is_empty());
    let mut scenarios = scenarios::all();
    scenarios.retain(|scenario| named(scenario.name) && (whole || scenario.short || !words.is_empty()) && !serve);
    Plan { serve, whole, healthy: !serve && named("healthy"), panels: !serve && named("panels"), explain, scenarios }
}

/// Says whether all went well.
fn inside(directory: &Path, arguments: &[String]) -> bool {
    cage::settle_in(directory);
    let plan = plan(arguments);
    let begun = Instant::now();
    let mut lab = Lab::start(directory);
    lab.wait("a healthy network", |lab| lab.is_quiet()).unwrap_or_else(|why| panic!("{why}"));
    say(&format!("ok    the network is up and healthy after {}", run::seconds(begun.elapsed())));
    lab.old_page = monitoring::get("172.30.2.13:19179", "/metrics").unwrap();
    if plan.serve {
        for (name, address) in DOORS {
            cage::door(directory, name, address).unwrap();
        }
        loop {
            thread::park();
        }
    }
    let mut failed = 0;
    let mut note = |what: &str, result: Result<(), String>| {
        if let Err(why) = result {
            failed += 1;
            say(&format!("FAILED {what}: {why}"));
        }
    };
    if plan.healthy {
        for day in healthy::days().iter().filter(|day| plan.whole != day.short) {
            note(day.name, day.play(&mut lab));
        }
    }
    if plan.explain {
        note("explain", explain::play(&mut lab));
    }
    for scenario in &plan.scenarios {
        note(scenario.name, scenario.play(&mut lab));
    }
    if plan.panels {
        // Rates want two samples; what is empty after the wait is told below.
        let _ = lab.wait("panels with data", |lab| lab.monitoring.empty_panels().0.is_empty());
        let (empty, count) = lab.monitoring.empty_panels();
        say(&format!("      {count} queries of the dashboards' panels were asked, {} gave nothing", empty.len()));
        empty.into_iter().for_each(|why| note("panels", Err(why)));
    }
    say(&format!("the run took {}", run::seconds(begun.elapsed())));
    failed == 0
}

fn outside(mut cage: Cage, serve: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let interrupted = runtime.spawn(async { tokio::signal::ctrl_c().await });
    let mut shown = !serve;
    loop {
        if let Some(status) = cage.ended() {
            return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        if !shown && cage.directory().join("etcd.sock").exists() {
            shown = true;
            for (name, _) in DOORS {
                let url = cage::open(cage.directory(), name).unwrap();
                say(&format!("{name:14}{url}"));
            }
            say("Ctrl-C takes it down.");
        }
        runtime.block_on(tokio::time::sleep(Duration::from_millis(100)));
        if interrupted.is_finished() {
            say("taking it down");
            cage.stop();
            let _ = cage.wait();
            return ExitCode::from(130);
        }
    }
}

/// A line for whoever watches.
fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}
