//! What a leak's finding says to the person who reads it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use super::Holder;
use super::holder::Place;
use super::uses::{User, Users};
use crate::audit::fault::LeakReason;
use crate::audit::{Candidate, Finding};
use crate::model::Attribute;

/// Fills in the words.
pub(super) fn candidate(
    finding: Finding,
    reason: LeakReason,
    address: IpAddr,
    place: Place<'_>,
    users: Users<'_>,
) -> Candidate {
    let held = held(address, place);
    let used = used(users);
    let release = format!("calicoctl ipam release --ip={address}");
    let (detail, expected, actual, action) = match reason {
        LeakReason::OnUnknownHost => {
            let node = place.holder.attribute().and_then(|it| it.node.as_deref()).unwrap_or_default();
            let action = if users.total() == 0 {
                format!("If {node} is gone for good, give the address back: {release}.")
            } else {
                format!(
                    "Bring the Node {node} back, or delete the pods that use the address. Do not release it before."
                )
            };
            let actual = format!("no Node {node}; {used}");
            (format!("{held}. There is no Node {node}."), format!("a Node {node}, or no allocation"), actual, action)
        }
        LeakReason::AllocatedNotInUse => (
            format!("{held}. No endpoint has it, so nobody can use it."),
            "an endpoint that has the address, or no allocation".to_owned(),
            used.clone(),
            format!("Make sure that the pod is gone, then give the address back: {release}."),
        ),
        LeakReason::OnAnotherNode => (
            format!("{held}. But {used}: its traffic is routed to the wrong host."),
            format!("an endpoint on {}", homes(place.holder.attribute())),
            used.clone(),
            "Delete the pod, so that it comes back with an address of its own. Do not release the address before."
                .to_owned(),
        ),
        LeakReason::HandleDiffers => {
            let container = users.others.first().map_or("", |user| &user.container);
            (
                format!("{held}. But {used}, container {container}: the address was given away while in use."),
                "the container that the handle names".to_owned(),
                format!("container {container}"),
                "Delete the pod that uses the address, so that it comes back with one of its own.".to_owned(),
            )
        }
        LeakReason::TwoEndpoints => (
            format!("{held}. And {used}: they take each other's traffic."),
            "one endpoint".to_owned(),
            format!("{} endpoints", users.total()),
            match place.holder.attribute().is_some_and(Attribute::has_pod) {
                true => {
                    "Delete all of these pods but the one that the allocation names; the rest come back with other \
                         addresses."
                        .to_owned()
                }
                false => "No allocation names one of these pods: delete all of them, so that each comes back with an \
                          address that is allocated to it."
                    .to_owned(),
            },
        ),
        LeakReason::InUseNotAllocated => (
            format!("{held}. But {used}: the address may be given to another pod."),
            "an allocation for the endpoint".to_owned(),
            held.clone(),
            "Delete the pod, so that it comes back with an address that is allocated to it.".to_owned(),
        ),
    };
    let finding = finding.detail(detail).expected(expected, actual).action(action);
    Candidate { finding, identity: identity(place, users), block: place.block.map(|block| block.cidr) }
}

/// Tells this allocation and these endpoints from the next ones of the same address.
fn identity(place: Place<'_>, users: Users<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Some(attribute) = place.holder.attribute() {
        attribute.handle.hash(&mut hasher);
        attribute.node.hash(&mut hasher);
    } else {
        for user in users.others {
            user.id.hash(&mut hasher);
            user.container.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// `10.0.0.1 is allocated to pod a/b on h1 (handle …, block …)`.
fn held(address: IpAddr, place: Place<'_>) -> String {
    let Some(block) = place.block else { return format!("{address} lies in no block") };
    let block = &block.cidr;
    match place.holder {
        Holder::Nobody => format!("{address} is free in block {block}"),
        Holder::Cooling => format!("{address} was released and rests in block {block}"),
        Holder::Hidden => format!("{address} is allocated in block {block}, to whom is not known"),
        Holder::Tunnel(it) | Holder::Machine(it) | Holder::Exempt(it) | Holder::Judged(it) => {
            let handle = it.handle.as_deref().map_or("no handle".to_owned(), |handle| format!("handle {handle}"));
            format!("{address} is allocated{} ({handle}, block {block})", owner(it))
        }
    }
}

/// ` to pod a/b on h1`, as far as it is known.
pub(crate) fn owner(attribute: &Attribute) -> String {
    let mut text = match (&attribute.namespace, &attribute.pod, &attribute.kind_text) {
        (namespace, Some(pod), _) => format!(" to pod {}/{pod}", namespace.as_deref().unwrap_or("?")),
        (_, None, Some(kind)) => format!(" as {kind}"),
        _ if attribute.abridged => " to a pod".to_owned(),
        _ => String::new(),
    };
    if let Some(node) = &attribute.node {
        text.push_str(" on ");
        text.push_str(node);
    }
    text
}

/// `h1`, or `h1 or h2` while a machine moves.
fn homes(attribute: Option<&Attribute>) -> String {
    let homes = attribute.map(|it| [&it.node, &it.peer_node]).unwrap_or([&None, &None]);
    homes.into_iter().flatten().map(|name| &**name).collect::<Vec<_>>().join(" or ")
}

/// What is said of an address that no endpoint has.
const NOBODY: &str = "no endpoint has it";

/// Whether an endpoint has the address of a leak.
pub(crate) fn is_used(finding: &Finding) -> bool {
    !finding.actual.ends_with(NOBODY)
}

/// Who uses an address. As many are named as a line holds.
fn used(users: Users<'_>) -> String {
    const NAMED: usize = 3;
    let name = |user: &User| {
        let User { id, node, pod, .. } = user;
        match pod.is_empty() {
            true => format!("endpoint {}/{} on {node}", id.namespace, id.name),
            false => format!("pod {}/{pod} on {node}", id.namespace),
        }
    };
    let mut parts: Vec<String> = users.others.iter().take(NAMED).map(name).collect();
    if users.others.len() > NAMED {
        parts.push(format!("{} more", users.others.len() - NAMED));
    }
    match users.fitting {
        0 => {}
        1 => parts.push("the endpoint that it is allocated to".to_owned()),
        several => parts.push(format!("{several} endpoints that fit the allocation")),
    }
    match (users.counted, users.counted_on) {
        (0, _) => {}
        (1, Some(node)) => parts.push(format!("an endpoint on {node}")),
        (count, Some(node)) => parts.push(format!("{count} endpoints, one of them on {node}")),
        (count, None) => parts.push(format!("{count} endpoints")),
    }
    match (parts.len(), users.total()) {
        (0, _) => NOBODY.to_owned(),
        (_, 1) => format!("{} has it", parts.join(" and ")),
        _ => format!("{} have it", parts.join(" and ")),
    }
}
