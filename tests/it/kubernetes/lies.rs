//! An API server whose lists lie: whatever they say, the source is out of sync or right.

use std::time::{Duration, Instant};

use calico_exporter::source::backoff::Backoff;
use calico_exporter::source::kubernetes::{Config, Timeouts};
use calico_exporter::source::progress::{Allowance, Patience};
use serde_json::{Value, json};

use super::faults::{Fake, Lie};
use super::recorded;
use crate::support::follow::Source;
use crate::support::kube::V1;

fn impatient(fake: &Fake, late: Duration, hopeless: Duration) -> Config {
    let allowance = |base| Allowance { base, bytes_per_second: u64::MAX };
    let patience = Patience { late: allowance(late), hopeless: allowance(hopeless) };
    let timeouts = Timeouts { answer: Duration::from_secs(5), piece: Duration::from_secs(5), patience };
    let mut config = Config::with_timeouts(&fake.settings(), timeouts);
    config.pace.jitter = Duration::ZERO;
    config.pace.backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(300));
    config.pace.check = Duration::from_millis(300);
    config.pace.settle = Duration::from_millis(50);
    config
}

fn patient(fake: &Fake) -> Config {
    impatient(fake, Duration::from_secs(20), Duration::from_secs(40))
}

/// A block of the recording, by a name of its own where it is not the first.
fn item(number: usize) -> Value {
    let mut block = recorded(V1, "ipamblocks")["items"][0].clone();
    if number > 0 {
        block["metadata"]["name"] = json!(format!("10-9-{number}-0-26"));
        block["spec"]["cidr"] = json!(format!("10.9.{number}.0/26"));
    }
    block
}

fn list(meta: Value, items: &[Value]) -> Vec<(Duration, String)> {
    let mut metadata = json!({"resourceVersion": "900"});
    metadata.as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
    vec![(Duration::ZERO, json!({"metadata": metadata, "items": items}).to_string())]
}

const LIES: &[(&str, Lie, &str)] = &[
    ("the same token for ever", |_, nth| list(json!({"continue": "again"}), &[item(nth + 1)]), "token twice"),
    (
        "tokens that go round in circles",
        |_, nth| list(json!({"continue": format!("t{}", nth % 3)}), &[item(nth + 1)]),
        "token twice",
    ),
    (
        "the same object for ever",
        |_, nth| list(json!({"continue": format!("t{nth}")}), &[item(0)]),
        "twice in one list",
    ),
    (
        "what is left does not shrink",
        |_, nth| list(json!({"continue": format!("t{nth}"), "remainingItemCount": 5}), &[item(nth + 1)]),
        "objects are left",
    ),
    ("it ends too early", |_, _| list(json!({"remainingItemCount": 5}), &[item(0)]), "said to follow"),
    (
        "more than anybody has",
        |_, nth| list(json!({"continue": format!("t{nth}"), "remainingItemCount": 1_u64 << 60}), &[item(nth + 1)]),
        "more than",
    ),
    ("nothing for ever", |_, nth| list(json!({"continue": format!("t{nth}")}), &[]), "without an object"),
    (
        "pages of two versions",
        |path, nth| match path.contains("continue=") {
            false => list(json!({"continue": format!("t{nth}")}), &[item(0)]),
            true => list(json!({"resourceVersion": "901"}), &[item(1)]),
        },
        "another history",
    ),
    (
        "cut off",
        |_, _| vec![(Duration::ZERO, r#"{"metadata":{"resourceVersion":"900"},"items":[{"metadata":{"#.to_owned())],
        "no list",
    ),
];

#[tokio::test]
async fn no_list_that_cannot_be_right_is_believed() {
    for (what, lie, words) in LIES {
        let fake = Fake::start().await;
        let mut source = Source::start_kubernetes(patient(&fake));
        source.until_in_sync().await;
        let before = source.picture.objects.clone();
        fake.script.lock().unwrap().lie = Some(*lie);
        source.until(what, |picture| picture.lost.iter().any(|why| why.contains(words))).await;
        assert!(!source.picture.in_sync, "{what}");
        let (lies, began) = (fake.script.lock().unwrap().lies, Instant::now());
        while began.elapsed() < Duration::from_millis(700) {
            source.receive().await;
        }
        assert!(!source.picture.in_sync, "{what}");
        let lies = fake.script.lock().unwrap().lies - lies;
        assert!(lies < 150 || *words == "without an object", "{what}: {lies} requests in 0.7 s");
        fake.script.lock().unwrap().lie = None;
        // The list that was under way may end with what is right, and is compared soon after.
        source.until(what, |picture| picture.in_sync && picture.objects == before).await;
        source.stop().await;
    }
}

/// Seven bytes now and then: no pause is too long, and all of them together are.
fn drips(_: &str, _: usize) -> Vec<(Duration, String)> {
    let body = json!({"metadata": {"resourceVersion": "900"}, "items": [item(0)]}).to_string();
    body.as_bytes().chunks(7).map(|it| (Duration::from_millis(200), String::from_utf8(it.to_vec()).unwrap())).collect()
}

#[tokio::test]
async fn a_list_that_drips_is_out_of_sync_and_given_up() {
    let fake = Fake::start().await;
    let config = impatient(&fake, Duration::from_millis(500), Duration::from_secs(2));
    let mut source = Source::start_kubernetes(config);
    source.until_in_sync().await;
    fake.script.lock().unwrap().lie = Some(drips);
    source.until("late", |picture| picture.lost.iter().any(|why| why.contains("too slow"))).await;
    assert!(!source.picture.in_sync);
    let lies = fake.script.lock().unwrap().lies;
    // Not to the end, which is minutes away.
    let again = || fake.script.lock().unwrap().lies > lies;
    let began = Instant::now();
    while !again() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is never given up");
        source.receive().await;
    }
    assert!(!source.picture.in_sync);
    fake.script.lock().unwrap().lie = None;
    source.until_in_sync().await;
    source.stop().await;
}
