//! The blocks of one host, where others' are left alone: each has a watch of its own, by its object's name, that comes
//! and goes with the key that claims it.

use std::collections::BTreeMap;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use ipnet::IpNet;

use super::error::KubernetesError;
use super::follow::Follower;
use super::sync::{Member, Sync};
use crate::model::{BlockOwner, Name};
use crate::state::{Event, Object, ObjectId};

/// Blocks that this host has a key to. A key that goes and comes again is another claim: the block is read anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    claimed: BTreeMap<IpNet, u64>,
    /// Claims so far.
    count: u64,
}

impl Claims {
    /// Forgets all: keys are listed anew.
    pub(super) fn clear(&mut self) {
        self.claimed.clear();
    }

    /// Takes in what is said of keys.
    pub(super) fn note(&mut self, me: &Name, events: &[Event]) {
        for event in events {
            let (id, there) = match event {
                Event::Put(object) => (object.id(), true),
                Event::Unreadable { id, .. } => (id.clone(), true),
                Event::Delete(id) => (id.clone(), false),
                _ => continue,
            };
            let ObjectId::Affinity(BlockOwner::Host(host), cidr) = id else { continue };
            if host != *me {
                continue;
            }
            if !there {
                self.claimed.remove(&cidr);
            } else if !self.claimed.contains_key(&cidr) {
                self.count += 1;
                self.claimed.insert(cidr, self.count);
            }
        }
    }

    /// Whether the block is claimed, and by this very claim.
    pub(super) fn holds(&self, cidr: IpNet, claim: u64) -> bool {
        self.claimed.get(&cidr) == Some(&claim)
    }

    /// Whether the block is claimed.
    pub(super) fn has(&self, cidr: IpNet) -> bool {
        self.claimed.contains_key(&cidr)
    }

    /// All, each with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, u64)> + '_ {
        self.claimed.iter().map(|(cidr, claim)| (*cidr, *claim))
    }
}

/// The block that an event is about, if it is about one.
pub(super) fn block_of(event: &Event) -> Option<IpNet> {
    match event {
        Event::Put(object) => match &**object {
            Object::Block(block) => Some(block.cidr),
            _ => None,
        },
        Event::Unreadable { id: ObjectId::Block(cidr), .. } | Event::Delete(ObjectId::Block(cidr)) => Some(*cidr),
        _ => None,
    }
}

/// Follows this host's blocks for as long as it has keys to them, each with what `follower` makes. Returns once blocks
/// are not there any more at all.
pub(super) async fn follow(sync: &Sync, follower: impl Fn(Member) -> Follower) -> KubernetesError {
    each(sync, |member| follower(member).run()).await
}

async fn each<F: Future<Output = KubernetesError>>(sync: &Sync, follower: impl Fn(Member) -> F) -> KubernetesError {
    let mut claims = sync.claims();
    let mut begun = 0;
    let mut running = FuturesUnordered::new();
    loop {
        let news: Vec<(IpNet, u64)> = claims.borrow_and_update().iter().filter(|(_, claim)| *claim > begun).collect();
        for (cidr, claim) in news {
            begun = begun.max(claim);
            running.push(one(follower(Member::Own(cidr, claim)), sync, cidr, claim));
        }
        // Nothing may be waited for here but these: one of them may have what the other one waits for.
        tokio::select! {
            Some(ended) = running.next() => if let Err(error) = ended { return error },
            _ = claims.changed() => {}
        }
    }
}

/// Follows one block until its claim is over.
async fn one(
    follower: impl Future<Output = KubernetesError>,
    sync: &Sync,
    cidr: IpNet,
    claim: u64,
) -> Result<(), KubernetesError> {
    let mut claims = sync.claims();
    tokio::select! {
        error = follower => return Err(error),
        _ = claims.wait_for(|claims| !claims.holds(cidr, claim)) => {}
    }
    sync.let_go(cidr, claim).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::model::{AffinityState, BlockAffinity};
    use crate::source::kubernetes::Resource;
    use crate::state::Follow;

    #[tokio::test]
    async fn a_block_that_is_let_go_does_not_keep_another_from_being_told() {
        let [stays, goes] = ["10.0.0.0/26", "10.0.0.64/26"].map(|cidr| cidr.parse::<IpNet>().unwrap());
        let key = |cidr| BlockAffinity { owner: BlockOwner::Host("me".into()), cidr, state: AffinityState::Confirmed };
        let (sender, mut events) = mpsc::channel(1);
        let sync = Sync::new(sender, &Follow::Affinities("me".into()));
        let own = each(&sync, |member| {
            let sync = &sync;
            async move {
                while matches!(member, Member::Own(cidr, _) if cidr == stays) {
                    sync.deliver(member, vec![Event::Delete(ObjectId::Block(stays))]).await;
                }
                std::future::pending().await
            }
        });
        let keys = async {
            let put = |cidr| Event::Put(Box::new(Object::Affinity(key(cidr))));
            sync.deliver(Member::All(Resource::Affinities), vec![put(stays), put(goes)]).await;
            tokio::task::yield_now().await;
            let gone = Event::Delete(ObjectId::Affinity(key(goes).owner, goes));
            sync.deliver(Member::All(Resource::Affinities), vec![gone.clone()]).await;
            std::future::pending::<()>().await
        };
        let told = async {
            let mut since = None;
            while since.is_none_or(|since| since < 100) {
                let batch = events.recv().await.unwrap();
                let is_end = |event: &Event| matches!(event, Event::Delete(ObjectId::Affinity(..)));
                since = if batch.iter().any(is_end) { Some(0) } else { since.map(|since| since + 1) };
            }
        };
        tokio::select! {
            _ = own => unreachable!("nobody ends it"),
            () = keys => {}
            told = tokio::time::timeout(Duration::from_secs(20), told) => told.expect("it goes on"),
        }
    }
}
