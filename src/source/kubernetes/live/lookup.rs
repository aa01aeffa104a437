//! Single objects, read when somebody asks: Pods, of which there are too many to follow, and other hosts' blocks where
//! only affinity keys are followed.

use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::sync::{mpsc, watch};

use super::client::{Client, Form};
use super::config::Config;
use super::error::KubernetesError;
use super::objects::{Decoded, Decoder, Place, Says};
use super::part::Part;
use super::sync::Sync;
use super::{ApiGroup, Resource};
use crate::model::{EndpointId, Family, Node};
use crate::state::{Event, Lookup, Object, ObjectId};

/// Objects asked for at once, over one connection.
const AT_ONCE: usize = 16;

/// Answers `lookups`, for ever, from the group in which Calico's objects are by then. If reading fails they are dropped:
/// an answer that comes late is worth less than a new question.
pub(super) async fn serve(
    config: &Config,
    group: watch::Receiver<ApiGroup>,
    mut lookups: mpsc::Receiver<Lookup>,
    sync: &Sync,
) {
    let mut asked = Vec::with_capacity(AT_ONCE);
    let mut failing = false;
    loop {
        asked.clear();
        if lookups.recv_many(&mut asked, AT_ONCE).await == 0 {
            // Nobody will ask any more.
            return std::future::pending().await;
        }
        let decoder = config.decoder(*group.borrow());
        let mut events = Vec::new();
        let mut failed = None;
        for answer in join_all(asked.iter().map(|lookup| answer(&config.client, &decoder, lookup))).await {
            match answer {
                Ok(answer) => events.extend(answer),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed.filter(|_| !std::mem::replace(&mut failing, true)) {
            tracing::warn!(%error, "cannot look up single Pods or blocks");
        } else if !events.is_empty() {
            failing = false;
        }
        sync.answer(events).await;
    }
}

/// Reads what is asked for, as it is now.
pub(super) async fn answer(client: &Client, decoder: &Decoder, lookup: &Lookup) -> Result<Vec<Event>, KubernetesError> {
    match lookup {
        Lookup::Endpoint(id) => endpoint(client, decoder, id).await,
        Lookup::Block { cidr, .. } => block(client, decoder, cidr).await,
    }
}

/// One block, or that there is none.
pub(super) async fn block(client: &Client, decoder: &Decoder, cidr: &IpNet) -> Result<Vec<Event>, KubernetesError> {
    let part = Part { resource: Resource::Blocks, group: decoder.group };
    let asked = client.asked("get", &part.words());
    match client.read(&format!("{}/{}", part.path(), Place::of_block(cidr).name), Form::Whole, &asked).await {
        Ok(body) => Ok(decoder.decode(Resource::Blocks, &body).events()),
        Err(KubernetesError::NotFound { .. }) => Ok(vec![Event::Delete(ObjectId::Block(*cidr))]),
        Err(error) => Err(error),
    }
}

/// What `form` leaves out and is needed all the same: of a Node that Calico has given no address, its own counts, which
/// metadata does not hold.
pub(super) async fn complete(
    client: &Client,
    part: Part,
    form: Form,
    decoder: &Decoder,
    decoded: Decoded,
) -> Result<Decoded, KubernetesError> {
    if form == Form::Whole || !lacks_address(&decoded) {
        return Ok(decoded);
    }
    let asked = client.asked("get", &part.words());
    match client.read(&format!("{}/{}", part.path(), decoded.place.name), Form::Whole, &asked).await {
        Ok(body) => Ok(decoder.decode(part.resource, &body)),
        // Whoever listed it is told that it is gone.
        Err(KubernetesError::NotFound { .. }) => Ok(decoded),
        Err(error) => Err(error),
    }
}

/// Whether it is a Node, and Calico has given it no address.
fn lacks_address(decoded: &Decoded) -> bool {
    let Says::Objects(objects) = &decoded.says else { return false };
    let has = |node: &Node| Family::ALL.into_iter().any(|family| node.bgp_address(family).is_some());
    objects.iter().any(|object| matches!(object, Object::Node(_, node) if !has(node)))
}

async fn endpoint(client: &Client, decoder: &Decoder, id: &EndpointId) -> Result<Vec<Event>, KubernetesError> {
    let gone = Event::Delete(ObjectId::Endpoint(id.clone()));
    // What is no Pod's has no Pod.
    let Some(pod) = pod_of(&id.name) else { return Ok(vec![gone]) };
    let asked = client.asked("get", "pods");
    let path = format!("/api/v1/namespaces/{}/pods/{pod}", id.namespace);
    let body = match client.read(&path, Form::Whole, &asked).await {
        Ok(body) => body,
        Err(KubernetesError::NotFound { .. }) => return Ok(vec![gone]),
        Err(error) => return Err(error),
    };
    let mut said = decoder.decode(Resource::Pods, &body).events();
    said.retain(|event| match event {
        Event::Put(object) => object.id() == ObjectId::Endpoint(id.clone()),
        Event::Unreadable { id: other, .. } => *other == ObjectId::Endpoint(id.clone()),
        _ => false,
    });
    // A Pod of that name on another node is another endpoint.
    Ok(if said.is_empty() { vec![gone] } else { said })
}

/// The Pod of an endpoint's name, `<node>-k8s-<pod>-eth0` with every dash inside a part doubled
/// (see [`EndpointId::of_pod`]).
fn pod_of(name: &str) -> Option<String> {
    let mut parts = vec![String::new()];
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        let is_separator = character == '-' && characters.next_if_eq(&'-').is_none();
        match parts.last_mut() {
            _ if is_separator => parts.push(String::new()),
            Some(part) => part.push(character),
            None => {}
        }
    }
    match <[String; 4]>::try_from(parts).ok()? {
        [_, orchestrator, pod, _] if orchestrator == "k8s" && !pod.is_empty() => Some(pod),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_pod_is_told_from_the_name_that_calico_gives_it(
            node in "[a-z0-9]([a-z0-9.-]{0,9}[a-z0-9])?", pod in "[a-z0-9]([a-z0-9.-]{0,9}[a-z0-9])?",
        ) {
            prop_assert_eq!(pod_of(&EndpointId::of_pod(&node, "shop", &pod).name), Some(pod));
        }
    }

    #[test]
    fn other_names_are_no_pods() {
        for name in ["", "a-k8s-b", "a-libnetwork-libnetwork-b", "a-cni-b-eth0", "a-k8s--eth0", "a/../b-k8s-c"] {
            assert_eq!(pod_of(name), None, "{name}");
        }
    }
}
