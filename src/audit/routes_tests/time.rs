//! Grace: J29.

use super::*;

const GRACE: Option<Duration> = Some(Duration::from_secs(120));

fn faults_after(seconds: u64, change: impl FnOnce(&mut Host)) -> Vec<String> {
    let mut host = healthy();
    change(&mut host);
    host.audit(GRACE).0.findings(at(seconds)).iter().map(told).collect()
}

#[test]
fn j29_a_difference_stands_for_the_grace_before_it_is_a_fault() {
    let gone = |it: &mut Host| done(it.without("10.1.0.64/26"));
    assert_eq!(faults_after(119, gone), [""; 0]);
    assert_eq!(faults_after(120, gone), ["remote_block/missing 10.1.0.64/26 h2"]);
    // The host's own faults wait as long.
    assert_eq!(faults_after(119, |it| it.link("tunl0").admin_up = false), [""; 0]);
    assert_eq!(faults_after(120, |it| it.link("tunl0").admin_up = false), ["tunl0/down tunl0 h1"]);
}

#[test]
fn j29_bird_that_has_written_nothing_may_be_waiting_for_a_peer() {
    let silent = |it: &mut Host| {
        it.routes.retain(|it| it.protocol != Protocol::BIRD);
        it.without("10.1.0.64/26");
    };
    assert_eq!(faults_after(269, silent), ["remote_block/missing 10.1.0.64/26 h2"]);
    assert_eq!(faults_after(270, silent).len(), 5);
    // It has written something: the usual grace.
    assert_eq!(faults_after(120, |it| done(it.without("10.4.0.64/26"))), ["remote_block/missing 10.4.0.64/26 h2"]);
}

#[test]
fn j29_a_delete_and_an_add_of_one_route_within_a_look_are_no_change() {
    let host = healthy();
    let (mut audit, mut state) = host.audit(GRACE);
    let blinking = host.routes[3].clone();
    state.apply(Event::RouteGone(blinking.key()), Duration::from_secs(5));
    state.apply(Event::Route(blinking), Duration::from_secs(5));
    let changes = state.take_changes();
    audit.refresh(&state, &changes, at(5));
    assert_eq!(audit.report(&state, at(5)).changes.values().map(|it| it.0 + it.1).sum::<u64>(), 0);
}
