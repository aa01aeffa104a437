//! The kernel's links and routes, and what is beneath them, over rtnetlink(7), by events. It only asks and listens: no capability is needed.
//!
//! First it listens, then it asks for everything on a second socket, then it goes on with what it heard meanwhile and
//! hears from then on. Whatever makes the picture doubtful (messages lost to a full buffer, a torn list, an event that
//! does not fit, changes that the kernel makes without telling) leads to a fresh list.
//!
//! Sockets, requests, messages and their attributes are `rtnetlink`'s. Its `Connection` and `Handle` are not used:
//! this program lives by knowing what it does *not* know. In netlink-proto 0.14.1, on which they stand:
//!
//! - Whatever is there is taken from the socket and handed on by channels without bound (`poll_read_messages`,
//!   `forward_unsolicited_messages`): a burst is memory, and an overrun is told after all that waits before it. Here
//!   the kernel's own receive buffer is the queue: where the engine is slow, it overflows, says so, and a fresh list is
//!   taken.
//! - A message that cannot be decoded is logged and left out, and so is the rest of a datagram that is cut off
//!   (`codecs.rs`). Here it is a doubt, like one that is lost.
//! - The error that ends a failed dump is dropped, unless `set_forward_done` is called; and the requests of `Handle`
//!   drop the header with `NLM_F_DUMP_INTR` (`try_rtnl!`) in any case.
//!
//! Each of them would turn into routes that look missing. A codec and a message type of our own would mend the second
//! and the third, not the first, and be as much code as `socket.rs`.

use std::io;
use std::time::Duration;

use rtnetlink::packet_core::DecodeError;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::state::Event;

mod author;
mod decode;
mod list;
mod mirror;
mod monitor;
mod socket;
mod tunnels;

use mirror::Mirror;
use monitor::{Ended, Picture};
use tunnels::Tunnels;

/// Why the kernel's picture cannot be had. In [`run`] every one of them is a reason to try again.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket: `RestrictAddressFamilies` without `AF_NETLINK`, a seccomp filter, too many open files.
    #[error("no netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The socket for events failed.
    #[error("listening to the kernel failed: {0}")]
    Listen(#[source] io::Error),
    /// The kernel ended a list with an error.
    #[error("listing {what} failed: {source}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A list changed each time while it was read.
    #[error("{what} changed each of {attempts} times while they were listed")]
    Interrupted {
        /// What was asked for.
        what: &'static str,
        /// How often.
        attempts: u32,
    },
    /// A message that is cut off or has values of the wrong size.
    #[error("the kernel's list of {what} cannot be read: {source}")]
    Malformed {
        /// What was asked for.
        what: &'static str,
        /// Where it stops making sense.
        source: DecodeError,
    },
    /// The kernel did not answer in time.
    #[error("the kernel's lists did not come within {} s", after.as_secs())]
    Timeout {
        /// How long they were waited for.
        after: Duration,
    },
}

/// What can be set about [`run`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes asked for as the receive buffer of the socket that listens; the kernel cuts it to `net.core.rmem_max`.
    pub receive_buffer: u32,
    /// How long changes are collected before a doubt leads to a fresh list.
    pub settle: Duration,
    /// When to list once more after a list that a doubt led to. The kernel announces that a device goes down or that
    /// an address is gone *before* it drops the routes (`dev_close_many`, `__inet_del_ifa`): on a busy host, the first
    /// list may come in between.
    pub second_look: Duration,
    /// How often a fresh list is taken without any doubt, against drift. It varies by a tenth.
    pub refresh: Duration,
    /// How long all lists together may take.
    pub dump_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            receive_buffer: 8 << 20,
            settle: Duration::from_millis(50),
            second_look: Duration::from_secs(1),
            refresh: Duration::from_secs(60),
            dump_limit: Duration::from_secs(10),
        }
    }
}

/// What a datagram of the kernel's says to each of the two pictures, in words, message by message. One that cannot be read
/// ends it.
pub fn understood(datagram: &[u8]) -> [Vec<Result<String, DecodeError>>; 2] {
    fn of<P: Picture>(datagram: &[u8]) -> Vec<Result<String, DecodeError>>
    where
        P::Change: std::fmt::Debug,
    {
        socket::messages::<P::Change>(datagram)
            .map(|message| message.map(|message| format!("{:?}", message.payload)))
            .collect()
    }
    [of::<Mirror>(datagram), of::<Tunnels>(datagram)]
}

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Follows the kernel until `stop` is true or nobody takes the events any more. It never gives up: what goes wrong is
/// reported as [`Event::Lost`], and after a pause it starts again.
///
/// A fresh list that follows a loss (and the first) comes in batches from [`Event::Resync`] to [`Event::Synced`]. One
/// that follows a doubt, or is due from time to time, is a batch of the differences found and [`Event::Synced`].
pub async fn run(events: mpsc::Sender<Vec<Event>>, stop: watch::Receiver<bool>) {
    run_with(Settings::default(), events, stop).await;
}

/// [`run`] with other [`Settings`].
pub async fn run_with(settings: Settings, events: mpsc::Sender<Vec<Event>>, stop: watch::Receiver<bool>) {
    follow_until::<Mirror>(settings, events, stop).await;
}

/// Follows neighbours and forwarding entries of Calico's VXLAN devices and the policy rules, as [`run`] does links and
/// routes: on sockets of their own, so that what overflows them leaves the routes alone.
pub async fn run_tunnels(events: mpsc::Sender<Vec<Event>>, stop: watch::Receiver<bool>) {
    run_tunnels_with(Settings::default(), events, stop).await;
}

/// [`run_tunnels`] with other [`Settings`].
pub async fn run_tunnels_with(settings: Settings, events: mpsc::Sender<Vec<Event>>, stop: watch::Receiver<bool>) {
    follow_until::<Tunnels>(settings, events, stop).await;
}

async fn follow_until<P: Picture>(
    settings: Settings,
    events: mpsc::Sender<Vec<Event>>,
    mut stop: watch::Receiver<bool>,
) {
    tokio::select! {
        // An error means that nobody is left who could say stop.
        _ = stop.wait_for(|stop| *stop) => {}
        () = follow::<P>(&settings, &events) => {}
    }
}

/// One dump of links and routes, as a batch from [`Event::Resync`] to [`Event::Synced`].
///
/// # Errors
/// [`NetlinkError`], where the kernel does not answer or its lists change all the time.
pub async fn snapshot() -> Result<Vec<Event>, NetlinkError> {
    let mirror = Mirror::dump(Settings::default().dump_limit).await?;
    Ok(monitor::resync(&mirror).collect())
}

/// One dump of what is beneath the routes, likewise.
///
/// # Errors
/// As [`snapshot`].
pub async fn tunnels_snapshot() -> Result<Vec<Event>, NetlinkError> {
    let tunnels = Tunnels::dump(Settings::default().dump_limit).await?;
    Ok(monitor::resync(&tunnels).collect())
}

async fn follow<P: Picture>(settings: &Settings, events: &mpsc::Sender<Vec<Event>>) {
    let mut failures = 0;
    let mut reported = String::new();
    loop {
        let mut synced = false;
        let error = match monitor::follow::<P>(settings, events, &mut synced).await {
            Ended::Deaf => return,
            Ended::Failed(error) => error,
        };
        if synced {
            failures = 0;
            reported.clear();
        }
        let why = error.to_string();
        if why != reported {
            tracing::warn!(of = P::NAME, error = %why, "the kernel's picture is not known any more");
            reported.clone_from(&why);
        }
        if events.send(vec![Event::Lost(P::SIDE, why)]).await.is_err() {
            return;
        }
        sleep(pause(failures)).await;
        failures += 1;
    }
}

/// The pause after so many failures in a row: doubled from a quarter of a second, and anything down to half of it, so
/// that the hosts of a cluster do not act in step.
fn pause(failures: u32) -> Duration {
    let longest = Duration::from_millis(250).saturating_mul(2u32.saturating_pow(failures)).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_vary() {
        for failures in [0, 1, 5, 10, 31, u32::MAX] {
            let pause = pause(failures);
            assert!(pause >= Duration::from_millis(125) && pause <= LONGEST_PAUSE, "{failures}: {pause:?}");
        }
        assert!(pause(30) >= LONGEST_PAUSE / 2);
    }
}
