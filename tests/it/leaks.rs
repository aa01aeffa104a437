//! Datastores recorded from real Calico have no leak, no handle fault and no tunnel address that is not the tunnel's,
//! read at once or swept in pages.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use calico_exporter::audit::sweep::Sweep;
use calico_exporter::audit::{Finding, handles, leaks, tunnel_addresses};
use calico_exporter::source::file;
use calico_exporter::state::{Datastore, Event, Object, Side, State};

use crate::both_forms::{BOTH, listed};
use crate::fixtures::{folder, recorded_datastores};

/// The events of every recorded datastore, those of the Kubernetes API in that form as well.
fn recordings() -> Vec<(PathBuf, Vec<Event>)> {
    let dumps = recorded_datastores().into_iter().map(|folder| folder.join("etcd.json"));
    let etcd = dumps.map(|path| (path.clone(), file::datastore(&path).unwrap().events));
    etcd.chain(BOTH.map(|(group, name)| (folder(name), listed(group, name).events))).collect()
}

fn fold(events: &[Event]) -> Datastore {
    let mut state = State::new(true);
    for event in events {
        state.apply(event.clone(), Duration::ZERO);
    }
    assert!(state.in_sync(Side::Datastore));
    state.datastore
}

fn judge(datastore: &Datastore) -> Vec<Finding> {
    [leaks::judge(datastore), handles::judge(datastore), tunnel_addresses::judge(datastore)].concat()
}

#[test]
fn recorded_datastores_are_sound() {
    for (path, events) in recordings() {
        let datastore = fold(&events);
        assert!(!datastore.endpoints().is_empty() && !datastore.handles().is_empty(), "{}", path.display());
        assert_eq!(judge(&datastore), [], "{}", path.display());
    }
}

/// Each object of a recording that an audit of leaks reads is taken away in turn: what follows is that object's, once.
#[test]
fn what_a_recording_misses_is_named() {
    for (path, events) in recordings() {
        for event in &events {
            let Event::Put(object) = event else { continue };
            let without = || fold(&events.iter().filter(|other| *other != event).cloned().collect::<Vec<_>>());
            let found = |datastore: &Datastore| -> Vec<String> {
                judge(datastore).iter().map(|it| format!("{} {}", it.fault.reason().unwrap(), it.subject)).collect()
            };
            match &**object {
                Object::Handle(handle) => {
                    let expected = [format!("missing_handle {}", handle.id)];
                    assert_eq!(found(&without()), expected, "{}", path.display());
                }
                Object::Endpoint(endpoint) => {
                    // What is allocated to something that J11 exempts is no leak without its endpoint either.
                    let mut expected: Vec<String> =
                        endpoint.addresses.iter().map(|it| format!("allocated_not_in_use {it}")).collect();
                    expected.sort();
                    let mut found = found(&without());
                    found.sort();
                    assert_eq!(found, expected, "{}", path.display());
                }
                Object::Node(name, node) => {
                    let found = found(&without());
                    assert!(found.iter().all(|line| line.starts_with("on_unknown_host ")), "{name}: {found:?}");
                    for address in node.tunnels.values() {
                        assert!(found.contains(&format!("on_unknown_host {address}")), "{name}: {found:?}");
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_recording_swept_in_pages_is_as_sound() {
    for (path, events) in recordings() {
        let whole = fold(&events);
        let mut watched = State::new(false);
        let swept = |event: &Event| matches!(event, Event::Put(object) if matches!(**object, Object::Endpoint(_) | Object::Handle(_)));
        for event in events.iter().filter(|event| !swept(event)) {
            watched.apply(event.clone(), Duration::ZERO);
        }
        let watched = watched.datastore;
        assert!(watched.endpoints().is_empty());
        let mut sweep = Sweep::begin(&watched);
        for handle in whole.handles().values() {
            sweep.handle(&watched, handle);
        }
        for endpoint in whole.endpoints().values() {
            sweep.endpoint(&watched, endpoint);
        }
        let found = sweep.finish(&watched);
        assert_eq!(found.candidates, [], "{}", path.display());
        assert!(found.tunnel_users.is_empty(), "{}", path.display());
    }
}
