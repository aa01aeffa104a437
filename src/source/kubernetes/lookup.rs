//! Single Pods, read when somebody asks for their endpoints: there are too many to follow.

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::Resource;
use super::client::{Client, Form};
use super::error::KubernetesError;
use super::objects::Decoder;
use super::sync::Sync;
use crate::model::EndpointId;
use crate::state::{Event, Lookup, ObjectId};

/// Pods asked for at once, over one connection.
const AT_ONCE: usize = 16;

/// Answers `lookups`, for ever. If reading fails they are dropped: an answer that comes late is worth less than a new
/// question.
pub(super) async fn serve(client: &Client, decoder: Decoder, mut lookups: mpsc::Receiver<Lookup>, sync: &Sync) {
    let mut asked = Vec::with_capacity(AT_ONCE);
    let mut failing = false;
    loop {
        asked.clear();
        if lookups.recv_many(&mut asked, AT_ONCE).await == 0 {
            // Nobody will ask any more.
            return std::future::pending().await;
        }
        let mut events = Vec::new();
        let mut failed = None;
        for answer in join_all(asked.drain(..).filter_map(|lookup| match lookup {
            Lookup::Endpoint(id) => Some(look_up(client, &decoder, id)),
            // Asked only where other hosts' blocks are not followed; here all of them are.
            Lookup::Block { .. } => None,
        }))
        .await
        {
            match answer {
                Ok(answer) => events.extend(answer),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed.filter(|_| !std::mem::replace(&mut failing, true)) {
            tracing::warn!(%error, "cannot look up Pods");
        } else if !events.is_empty() {
            failing = false;
        }
        if !events.is_empty() {
            sync.deliver(events).await;
        }
    }
}

async fn look_up(client: &Client, decoder: &Decoder, id: EndpointId) -> Result<Vec<Event>, KubernetesError> {
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
