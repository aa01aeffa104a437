//! What is read of an API server, and how patiently.

use std::time::Duration;

use super::client::{Client, Form, Timeouts};
use super::objects::Decoder;
use super::settings::Settings;
use super::{ApiGroup, Convention, Resource};
use crate::model::Detail;
use crate::source::backoff::Backoff;
use crate::state::Follow;

/// What is followed, besides what sweeps read. All but the first three came to Calico later, or may be left out of an
/// installation. Where affinities are followed ([`Follow::Affinities`]), blocks are not among them, and of Nodes
/// [`Form::Metadata`](super::client::Form::Metadata) is all that is asked for.
pub(super) const WATCHED: [Resource; 10] = [
    Resource::Blocks,
    Resource::Affinities,
    Resource::Pools,
    Resource::IpamConfigs,
    Resource::Reservations,
    Resource::FelixConfigurations,
    Resource::BgpConfigurations,
    Resource::BgpPeers,
    Resource::ClusterInformations,
    Resource::Nodes,
];

/// When what is done.
#[derive(Debug, Clone)]
pub struct Pace {
    /// How long a watch may be without event or bookmark. A server sends a bookmark every minute.
    pub silence: Duration,
    /// How long a watch is asked to last, at least; at most twice as long.
    pub lasting: Duration,
    /// How often it is seen that what is watched may still be read: a server looks at permissions when a request comes,
    /// and a watch goes on without them.
    pub permission: Duration,
    /// Time between two comparisons by name and version, against drift; each is drawn from ±10 % around it.
    pub check: Duration,
    /// Over how long starts and fresh lists of many exporters are spread.
    pub jitter: Duration,
    /// Whether a first list may be what the server remembers, of any age, rather than what etcd has, as Calico's own first
    /// lists are (`watchersyncer/watchercache.go`): it costs the server a fraction, and etcd nothing. What it lacks the
    /// watch tells, which is the same server's memory.
    pub remembered: bool,
    /// How long a watch that goes on from an old version is listened to before it counts.
    pub settle: Duration,
    /// The longest that a server's `Retry-After` is obeyed.
    pub longest_wait: Duration,
    /// Between attempts.
    pub backoff: Backoff,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            silence: Duration::from_secs(120),
            lasting: Duration::from_secs(300),
            permission: Duration::from_secs(60),
            check: Duration::from_secs(600),
            jitter: Duration::from_secs(3),
            remembered: true,
            settle: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
        }
    }
}

impl Pace {
    /// The same where thousands of hosts do so: what each asks for now and then is asked for less often.
    #[must_use]
    pub fn of_thousands(self) -> Pace {
        let [lasting, permission, jitter] = [1500, 600, 15].map(Duration::from_secs);
        Pace { lasting, permission, jitter, ..self }
    }
}

/// What [`run()`](super::run()) reads, and how patiently.
#[derive(Clone)]
pub struct Config {
    /// The API server. Whoever has a copy of this shares its connection.
    pub client: Client,
    /// Which blocks are followed.
    pub follow: Follow,
    /// How much of each block is kept.
    pub detail: Detail,
    /// How Calico itself was told to use this datastore.
    pub convention: Convention,
    /// When what is done.
    pub pace: Pace,
}

impl Config {
    /// The defaults for `settings`.
    pub fn new(settings: &Settings) -> Config {
        Config::with_timeouts(settings, Timeouts::default())
    }

    /// The same with other limits to single requests.
    pub fn with_timeouts(settings: &Settings, timeouts: Timeouts) -> Config {
        Config {
            client: Client::new(settings, timeouts),
            follow: Follow::Blocks,
            detail: Detail::Full,
            convention: Convention::default(),
            pace: Pace::default(),
        }
    }

    pub(super) fn decoder(&self, group: ApiGroup) -> Decoder {
        self.convention.decoder(group, self.detail.clone())
    }

    /// What is listed and watched whole, and what by its metadata alone.
    pub(super) fn watched(&self) -> impl Iterator<Item = (Resource, Form)> + '_ {
        let all = self.follow == Follow::Blocks;
        let form = move |resource| if resource == Resource::Nodes && !all { Form::Metadata } else { Form::Whole };
        WATCHED.into_iter().filter(move |it| all || *it != Resource::Blocks).map(move |it| (it, form(it)))
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("server", &self.client.server())
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}
