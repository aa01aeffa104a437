//! The blocks of one host, where others' are left alone: each has a watch of its own, by its object's name, that comes
//! and goes with the key that claims it.

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use ipnet::IpNet;

use super::error::KubernetesError;
use super::follow::Follower;
use super::sync::{Member, Sync};

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
    use crate::model::{AffinityState, BlockAffinity, BlockOwner};
    use crate::source::kubernetes::Resource;
    use crate::state::{Event, Follow, Object, ObjectId};

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
