//! The loop of a running exporter: find Calico's group, follow every resource, and begin again where that is in doubt.

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::client::{Client, Form};
use super::config::Config;
use super::discover::{Found, discover};
use super::error::KubernetesError;
use super::follow::Follower;
use super::lookup;
use super::part::Part;
use super::sync::{Member, Sync};
use super::{ApiGroup, Resource, own};
use crate::source::backoff::around;
use crate::state::{Event, Lookup};

/// Follows the datastore until `stop` becomes true or is dropped, or nobody receives `events` any more.
///
/// `events` say what those of [`crate::source::etcd::run`] say, with two differences: no order holds between objects of
/// different resources, and after the first [`Event::Synced`] a resource is listed anew without another
/// [`Event::Resync`]: what is gone is then deleted one by one. [`Event::Denied`] says which resources may not be read.
///
/// `lookups` are each answered by a put, an unreadable or a delete.
pub async fn run(
    config: Config,
    events: mpsc::Sender<Vec<Event>>,
    lookups: mpsc::Receiver<Lookup>,
    mut stop: watch::Receiver<bool>,
) {
    let client = config.client.clone();
    let sync = Sync::new(events.clone(), &config.follow);
    // Until it is discovered, nobody asks.
    let (group, found) = watch::channel(config.convention.group.unwrap_or(ApiGroup::Crd));
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = events.closed() => {}
        () = follow(&config, &client, &sync, &group) => {}
        () = lookup::serve(&config, found, lookups, &sync) => {}
    }
}

async fn follow(config: &Config, client: &Client, sync: &Sync, group: &watch::Sender<ApiGroup>) {
    let mut backoff = config.pace.backoff.clone();
    sleep(config.pace.jitter.mul_f64(fastrand::f64())).await;
    loop {
        let error = match discover(client, config.convention.group).await {
            Ok(found) => {
                backoff.reset();
                tracing::info!(group = found.group.api_version(), "Calico's objects are found");
                group.send_replace(found.group);
                session(config, client, sync, &found).await
            }
            Err(error) => error,
        };
        sync.lost(None, &error).await;
        let asked_for = error.retry_after().map(|least| least.min(config.pace.longest_wait)).unwrap_or_default();
        sleep(asked_for + backoff.next_delay()).await;
    }
}

/// Follows every resource of a group until one of them is not there any more.
async fn session(config: &Config, client: &Client, sync: &Sync, found: &Found) -> KubernetesError {
    let parts: Vec<(Resource, Form)> = config.watched().filter(|(resource, _)| found.serves(*resource)).collect();
    sync.begin(parts.iter().map(|(resource, _)| *resource)).await;
    let follower = |member, part, form| {
        Follower::new(client, member, part, form, config.decoder(found.group), config.pace.clone(), sync)
    };
    let part = |resource| Part { resource, group: found.group };
    let mut followers: FuturesUnordered<_> =
        parts.into_iter().map(|(resource, form)| follower(Member::All(resource), part(resource), form).run()).collect();
    // Where all blocks are followed, nobody claims any.
    let own = own::follow(sync, |member| follower(member, part(Resource::Blocks), Form::Whole));
    tokio::select! {
        Some(error) = followers.next() => error,
        error = own => error,
        error = moved(config, client, found) => error,
    }
}

/// Looks now and then whether Calico's objects are where they were: after a migration the old ones stay, and an upgrade
/// brings new kinds. Returns once they are elsewhere; that they cannot be read is the followers' to say.
async fn moved(config: &Config, client: &Client, found: &Found) -> KubernetesError {
    loop {
        sleep(around(config.pace.check)).await;
        match discover(client, config.convention.group).await {
            Ok(now) if now != *found => {
                let asked = client.asked("get", "/apis");
                return asked.group(format!("Calico's objects are in {} now, or other kinds of them", now.group));
            }
            Err(error @ KubernetesError::Group { .. }) => return error,
            _ => {}
        }
    }
}
