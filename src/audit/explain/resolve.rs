//! What a text names in this datastore: one text may be a host's name, a pod's, or an address that is a host's name.

use std::collections::BTreeSet;

use super::{Known, Subject};
use crate::audit::cannot_tell::{closest_names, knows_host};
use crate::model::{Name, Node};

/// Pods of one name that are listed where a name is ambiguous.
const FEW: usize = 8;

/// What a subject names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// One thing.
    One(Subject),
    /// Nothing, or several things; why, in a sentence without its end.
    None(String),
}

/// What the subject names.
pub(super) fn resolve(known: &Known<'_>, subject: &Subject) -> Named {
    match subject {
        Subject::Address(address) => {
            // Some clusters call their hosts by their addresses.
            let name = Name::from(address.to_string());
            if known.state.datastore.nodes().contains_key(&name) {
                return Named::One(Subject::Host(name));
            }
            let is_own = |node: &Node| node.own_addresses().any(|it| it == *address);
            let mut hosts = known.state.datastore.nodes().iter().filter(|(_, node)| is_own(node));
            // An address that a pod has as well, or that has a finding, is asked about for its own sake.
            let of_pod = known.allocation(*address).is_some()
                || known.state.datastore.endpoints_at(*address).next().is_some()
                || known.about(&address.to_string()).next().is_some();
            match hosts.next() {
                Some((host, _)) if !of_pod => Named::One(Subject::Host(host.clone())),
                _ => Named::One(subject.clone()),
            }
        }
        Subject::Host(name) if !is_host(known, name) => of_bare_pod(known, name),
        Subject::Host(_) | Subject::Cidr(_) | Subject::Pod { .. } => Named::One(subject.clone()),
    }
}

/// Whether anything here belongs to a host of this name.
fn is_host(known: &Known<'_>, name: &Name) -> bool {
    let datastore = &known.state.datastore;
    known.me() == Some(name)
        || datastore.nodes().contains_key(name)
        || datastore.is_unreadable_node(name)
        || knows_host(datastore, name)
}

/// A pod's name without its namespace.
fn of_bare_pod(known: &Known<'_>, name: &Name) -> Named {
    let pods = pods(known);
    let namespaces: Vec<&Name> = pods.iter().filter(|(_, pod)| pod == name).map(|(namespace, _)| namespace).collect();
    match namespaces.as_slice() {
        [namespace] => Named::One(Subject::Pod { namespace: (*namespace).clone(), pod: name.clone() }),
        [] => Named::None(unknown(known, name, &pods)),
        several => {
            let mut each: Vec<String> =
                several.iter().take(FEW).map(|namespace| format!("{namespace}/{name}")).collect();
            if several.len() > FEW {
                each.push("…".to_owned());
            }
            Named::None(format!("several namespaces have a pod `{name}`: ask for one of {}", each.join(", ")))
        }
    }
}

/// Every pod whose name is known here, by namespace.
fn pods(known: &Known<'_>) -> BTreeSet<(Name, Name)> {
    let datastore = &known.state.datastore;
    let endpoints = datastore.endpoints().values().map(|it| (it.id.namespace.clone(), it.pod.clone()));
    let mut pods: BTreeSet<(Name, Name)> = endpoints.filter(|(_, pod)| !pod.is_empty()).collect();
    for block in datastore.blocks() {
        pods.extend(block.allocations().filter_map(|(_, attribute)| {
            let attribute = attribute?;
            Some((attribute.namespace.clone()?, attribute.pod.clone()?))
        }));
    }
    pods
}

fn unknown(known: &Known<'_>, name: &Name, pods: &BTreeSet<(Name, Name)>) -> String {
    let names: BTreeSet<&Name> = known.state.datastore.nodes().keys().chain(pods.iter().map(|(_, pod)| pod)).collect();
    let near = closest_names(name, names.into_iter());
    let near = match near.as_slice() {
        [] => String::new(),
        near => format!("; near: {}", near.join(", ")),
    };
    // While a datastore is followed, the names of other hosts' pods are dropped.
    let partly = match known.state.datastore.knows_endpoints() {
        true => "",
        false => " (names of other hosts' pods are not kept here: ask for the address, or use the command)",
    };
    format!("no host, pod or address `{name}`{near}{partly}")
}
