//! The sweep where the datastore is the Kubernetes API: each list is as of its own version, so that what is found may be
//! two moments side by side; only what a later sweep finds again counts.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;

use super::{FEW, aside};
use crate::audit::sweep::{Sweep, Swept};
use crate::model::{AllocationBlock, Detail, Name};
use crate::source::kubernetes::{Config, KubernetesError, Reader, Resource};
use crate::state::{Event, Object, ObjectId, State};

/// One sweep.
///
/// # Errors
/// The API cannot be read, or has forgotten the version of a list meanwhile.
pub(in crate::command) async fn once(config: &Config) -> Result<Swept, KubernetesError> {
    let reader = Reader::open(config).await?;
    let mut state = State::new(false);
    // A block is read again by its object's name, which nobody makes up.
    let mut names: HashMap<IpNet, Name> = HashMap::new();
    let against = [Resource::Pools, Resource::Nodes, Resource::Blocks];
    let keep = |state: &mut State, event| state.apply(event, Duration::ZERO);
    reader
        .read(&against, &Detail::Digests, |place, event| {
            if let Some(block) = block(&event) {
                names.insert(block.cidr, place.name.clone());
            }
            keep(&mut state, event);
        })
        .await?;
    let mut sweep = Sweep::begin(&state.datastore);
    let gathered = [Resource::Handles, Resource::Pods];
    reader.read(&gathered, &Detail::Full, |_, event| sweep.event(&state.datastore, &event)).await?;
    let (mut state, sweep, suspects) = aside(move || {
        let mut sweep = sweep;
        let suspects = sweep.suspects(&state.datastore);
        (state, sweep, suspects)
    })
    .await;
    if suspects.len() <= FEW {
        for name in suspects.iter().filter_map(|cidr| names.get(cidr)) {
            let events = reader.get(Resource::Blocks, name).await?;
            events.into_iter().for_each(|event| keep(&mut state, event));
        }
    }
    let open = |state: &State| -> Vec<IpNet> {
        let digested = |cidr: &&IpNet| state.datastore.block(cidr).is_some_and(AllocationBlock::is_digested);
        suspects.iter().filter(digested).copied().collect()
    };
    if suspects.len() > FEW {
        reader
            .read(&[Resource::Blocks], &Detail::Full, |_, event| {
                if block(&event).is_some_and(|block| suspects.contains(&block.cidr)) {
                    keep(&mut state, event);
                }
            })
            .await?;
    }
    // A block that is gone meanwhile has nothing wrong with it any more.
    for cidr in open(&state) {
        keep(&mut state, Event::Delete(ObjectId::Block(cidr)));
    }
    Ok(aside(move || sweep.finish(&state.datastore)).await)
}

fn block(event: &Event) -> Option<&AllocationBlock> {
    match event {
        Event::Put(object) => match &**object {
            Object::Block(block) => Some(block),
            _ => None,
        },
        _ => None,
    }
}
