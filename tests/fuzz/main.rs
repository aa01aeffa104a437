//! Everything that reads what comes from outside, given what it does not expect. It must not panic, and not take more
//! memory than a small multiple of what it was given.
//!
//! Inputs are made from those in `tests/corpus` and from recordings, by changes at random. One whose answer is of a new
//! form is kept and changed further; a long run (`FUZZ_SECONDS`) writes it into `tests/corpus`. A short run, that of
//! `cargo test`, makes the same inputs each time.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people who test")]

mod corpus;
mod etcd;
#[path = "../it/support/fake_etcd.rs"]
#[allow(dead_code, reason = "the tests tell it more")]
mod fake_etcd;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod mutate;
mod source;
mod targets;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

use corpus::Corpus;
use mutate::Mutator;
use targets::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Whether anything has panicked since the last input.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Executions of each target in a short run.
const SHORT: u64 = 20_000;
/// The largest input that is made.
const LARGEST: usize = 16 * 1024;
/// What may be taken whatever the input: tables, buffers, messages of errors.
const BASE: usize = 512 * 1024;

fn main() -> ExitCode {
    let seconds: Option<u64> = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let only = std::env::var("FUZZ_TARGET").ok();
    // A panic is reported with its input; its own message comes once, not with each try.
    // One in a task of its own is seen by nobody else.
    std::panic::set_hook(Box::new(|_| PANICKED.store(true, Ordering::SeqCst)));
    let mut failed = false;
    for target in TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name)) {
        let ran = run(target, seconds);
        println!(
            "fuzz {}: {} executions in {:.1} s, {} forms of answers, at most {:.1} bytes for one of input",
            target.name,
            ran.executions,
            ran.took.as_secs_f64(),
            ran.forms,
            ran.factor
        );
        for (why, file) in &ran.failures {
            println!("fuzz {}: FAILED: {why}: {file}", target.name);
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Ran {
    executions: u64,
    took: Duration,
    forms: usize,
    factor: f64,
    failures: Vec<(String, String)>,
}

fn run(target: &Target, seconds: Option<u64>) -> Ran {
    let mut corpus = Corpus::open(target);
    let seed = if seconds.is_some() { fastrand::u64(..) } else { 1 };
    let mut mutator = Mutator::new(seed, LARGEST);
    let mut forms: HashSet<String> = HashSet::new();
    let (start, mut executions, mut factor, mut failures) = (Instant::now(), 0, 0.0_f64, Vec::new());
    let goes_on = |executions: u64, start: Instant| match seconds {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => executions < target.short.min(SHORT),
    };
    let first = corpus.inputs().to_vec();
    let mut untried = first.into_iter();
    while goes_on(executions, start) && failures.len() < 5 {
        // Every input that is kept once as it is, and then changed.
        let (input, is_new) = match untried.next() {
            Some(input) => (input, false),
            None => (mutator.change(corpus.inputs(), target.words), true),
        };
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let answer = catch_unwind(AssertUnwindSafe(|| (target.read)(&input)));
        let taken = ALLOCATOR.peak_usage().saturating_sub(before);
        executions += 1;
        let allowed = target.base().max(BASE) + target.factor * input.len();
        if input.len() >= 1024 {
            factor = factor.max(taken as f64 / input.len() as f64);
        }
        let panicked = PANICKED.swap(false, Ordering::SeqCst);
        match answer {
            Ok(_) if panicked => failures.push(("panic in a task".to_owned(), corpus.keep_failure(&input))),
            Err(panic) => {
                let why = panic.downcast_ref::<String>().cloned();
                let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                failures.push((format!("panic: {}", why.unwrap_or_default()), corpus.keep_failure(&input)));
            }
            Ok(_) if taken > allowed => {
                let why = format!("{taken} bytes for an input of {}", input.len());
                failures.push((why, corpus.keep_failure(&input)));
            }
            Ok(answer) => {
                if forms.insert(form(&answer)) && is_new {
                    corpus.add(input, seconds.is_some());
                }
            }
        }
    }
    Ran { executions, took: start.elapsed(), forms: forms.len(), factor, failures }
}

/// An answer without what is only a number or a text of the input: what is left tells which way was taken.
fn form(answer: &str) -> String {
    let mut form = String::new();
    let mut in_quotes = false;
    for it in answer.chars().take(2000) {
        match it {
            '"' | '`' => in_quotes = !in_quotes,
            _ if in_quotes || it.is_ascii_digit() => {}
            _ => form.push(it),
        }
    }
    form.truncate(form.char_indices().nth(160).map_or(form.len(), |(end, _)| end));
    form
}
