//! Listening first, then a dump, then events: the loop that keeps a [`Mirror`] and tells what changes in it.

use std::time::Duration;

use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_REPLACE, NetlinkPayload};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::decode::{Change, Told};
use super::dump::dump;
use super::mirror::{Doubt, Mirror};
use super::socket::{Socket, is_overrun, messages};
use super::{NetlinkError, Settings};
use crate::model::Family;
use crate::state::{Event, Side};

/// What it listens to.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
];

/// Messages that may wait for the end of a dump. More than that is a flood, and a fresh dump costs less.
const LONGEST_QUEUE: usize = 200_000;

/// Datagrams taken as one batch: the engine is told once of what happens at once.
const LARGEST_BATCH: usize = 256;

/// Why following the kernel ended.
pub(super) enum Ended {
    /// Nobody takes the events any more.
    Deaf,
    /// It is to be started again.
    Failed(NetlinkError),
}

impl From<NetlinkError> for Ended {
    fn from(error: NetlinkError) -> Self {
        Ended::Failed(error)
    }
}

/// A message with whether it replaces what was there.
type Heard = (Change, bool);

/// Why listening has a gap.
enum Gap {
    /// Messages were lost: everything heard before a fresh dump is to be forgotten.
    Lost,
    /// The socket is of no use.
    Failed(NetlinkError),
}

/// The socket that listens.
struct Ear(Socket);

impl Ear {
    fn open(settings: &Settings) -> Result<Ear, NetlinkError> {
        let socket = Socket::open(&GROUPS).map_err(NetlinkError::Open)?;
        if let Err(error) = socket.set_receive_buffer(settings.receive_buffer) {
            tracing::debug!(%error, "the receive buffer keeps its size");
        }
        Ok(Ear(socket))
    }

    /// Waits for messages and takes those that are there. Nothing is lost where the future is dropped.
    async fn hear(&mut self, heard: &mut Vec<Heard>) -> Result<(), Gap> {
        let first = self.0.receive().await.map_err(gap)?;
        read(first, heard)?;
        self.hear_present(heard, LARGEST_BATCH)
    }

    /// Takes what is there, at most so many datagrams.
    fn hear_present(&mut self, heard: &mut Vec<Heard>, most: usize) -> Result<(), Gap> {
        for _ in 0..most {
            let Some(datagram) = self.0.try_receive().map_err(gap)? else { break };
            read(datagram, heard)?;
        }
        Ok(())
    }

    /// Throws away everything that is there. The kernel drops messages until the buffer has been empty once, and
    /// what lies in it is older than what it dropped: applied to a fresh dump, it would undo what was lost.
    fn forget(&mut self) -> Result<(), NetlinkError> {
        loop {
            match self.0.try_receive() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) if is_overrun(&error) => {}
                Err(error) => return Err(NetlinkError::Listen(error)),
            }
        }
    }
}

fn gap(error: std::io::Error) -> Gap {
    if is_overrun(&error) { Gap::Lost } else { Gap::Failed(NetlinkError::Listen(error)) }
}

fn read(datagram: &[u8], heard: &mut Vec<Heard>) -> Result<(), Gap> {
    for message in messages(datagram) {
        let message = message.map(|message| (message.header.flags & NLM_F_REPLACE != 0, message.payload));
        match message {
            Ok((replaces, NetlinkPayload::InnerMessage(Told(Some(change))))) => heard.push((change, replaces)),
            Ok((_, NetlinkPayload::Overrun(_))) => return Err(Gap::Lost),
            Ok(_) => {}
            // What it would have said is as unknown as what is lost.
            Err(error) => {
                tracing::warn!(%error, "a message of the kernel cannot be read");
                return Err(Gap::Lost);
            }
        }
    }
    Ok(())
}

/// The whole picture as a batch of events.
pub(super) fn resync(mirror: &Mirror) -> Vec<Event> {
    let mut events = vec![Event::Resync(Side::Kernel)];
    events.extend(mirror.events());
    events.push(Event::Synced(Side::Kernel));
    events
}

/// Follows the kernel until something fails that only a new socket cures. `synced` tells whether it got so far as to
/// have the picture.
pub(super) async fn follow(settings: &Settings, events: &mpsc::Sender<Vec<Event>>, synced: &mut bool) -> Ended {
    let mut ear = match Ear::open(settings) {
        Ok(ear) => ear,
        Err(error) => return Ended::Failed(error),
    };
    let mut losses: u32 = 0;
    loop {
        match pass(settings, events, &mut ear, synced, &mut losses).await {
            Ok(never) => match never {},
            Err(Stopped::Lost) => {
                tracing::warn!("messages of the kernel were lost; everything is listed again");
                // Losing again and again means that more happens than can be read: not to make it worse.
                sleep(Duration::from_millis(20).saturating_mul(2u32.saturating_pow(losses.min(8)))).await;
                losses += 1;
            }
            Err(Stopped::Ended(ended)) => return ended,
        }
    }
}

/// Why a pass ended.
enum Stopped {
    /// Messages were lost: the next pass starts with a fresh dump.
    Lost,
    /// Following ends.
    Ended(Ended),
}

impl From<Gap> for Stopped {
    fn from(gap: Gap) -> Self {
        match gap {
            Gap::Lost => Stopped::Lost,
            Gap::Failed(error) => Stopped::Ended(Ended::Failed(error)),
        }
    }
}

impl From<NetlinkError> for Stopped {
    fn from(error: NetlinkError) -> Self {
        Stopped::Ended(Ended::Failed(error))
    }
}

/// From a fresh dump until messages are lost.
async fn pass(
    settings: &Settings,
    events: &mpsc::Sender<Vec<Event>>,
    ear: &mut Ear,
    synced: &mut bool,
    losses: &mut u32,
) -> Result<std::convert::Infallible, Stopped> {
    ear.forget()?;
    let mut due = Due::new(settings);
    let mut mirror = listen_and_dump(settings, ear, &mut due).await?;
    let (links, routes) = mirror.len();
    tracing::info!(links, routes, "the kernel's routes are known");
    send(events, resync(&mirror)).await?;
    *synced = true;
    let mut heard = Vec::new();
    loop {
        tokio::select! {
            result = ear.hear(&mut heard) => {
                result?;
                let mut changed = Vec::new();
                for (change, replaces) in heard.drain(..) {
                    if let Err(doubt) = mirror.apply(change, replaces, &mut changed) {
                        due.doubt(doubt);
                    }
                }
                if !changed.is_empty() {
                    send(events, changed).await?;
                }
            }
            () = sleep_until(due.at) => {
                let fresh = listen_and_dump(settings, ear, &mut due).await?;
                let mut changed = mirror.difference(&fresh);
                tracing::debug!(differences = changed.len(), "listed again");
                mirror = fresh;
                changed.push(Event::Synced(Side::Kernel));
                send(events, changed).await?;
                *losses = 0;
            }
        }
    }
}

/// A dump, with what is heard meanwhile applied to it in order. A message says what is or is not there, so one that
/// is older than the dump does no harm: the newest about each route comes last, and one that does not fit is a doubt.
async fn listen_and_dump(settings: &Settings, ear: &mut Ear, due: &mut Due<'_>) -> Result<Mirror, Stopped> {
    let started = Instant::now();
    let mut queue = Vec::new();
    let dump = dump(settings.dump_limit);
    tokio::pin!(dump);
    let mut mirror = loop {
        tokio::select! {
            biased;
            mirror = &mut dump => break mirror?,
            result = ear.hear(&mut queue) => result?,
        }
        if queue.len() > LONGEST_QUEUE {
            return Err(Stopped::Lost);
        }
    };
    ear.hear_present(&mut queue, LARGEST_BATCH)?;
    due.dumped(started);
    for (change, replaces) in queue {
        // A dump of IPv6 routes that meets a change goes on by counting (`ip6_fib.c`, `fib6_dump_table`): after a
        // deletion it leaves out a route that nobody touched.
        if matches!(&change, Change::RouteGone(route) if Family::of_net(&route.destination) == Family::V6) {
            due.doubt(Doubt("an IPv6 route went while they were listed"));
        }
        if let Err(doubt) = mirror.apply(change, replaces, &mut Vec::new()) {
            due.doubt(doubt);
        }
    }
    Ok(mirror)
}

async fn send(events: &mpsc::Sender<Vec<Event>>, batch: Vec<Event>) -> Result<(), Stopped> {
    events.send(batch).await.map_err(|_| Stopped::Ended(Ended::Deaf))
}

/// When the next dump is due.
struct Due<'a> {
    settings: &'a Settings,
    at: Instant,
    doubted: bool,
    /// Not before: dumps may take a fifth of the time, whatever happens on the host.
    earliest: Instant,
}

impl<'a> Due<'a> {
    fn new(settings: &'a Settings) -> Self {
        let now = Instant::now();
        Due { settings, at: now + settings.refresh, doubted: false, earliest: now }
    }

    /// A dump that started then is done.
    fn dumped(&mut self, started: Instant) {
        let now = Instant::now();
        self.earliest = now + (now - started) * 4;
        let wait = match self.doubted {
            true => self.settings.second_look,
            false => self.settings.refresh.mul_f64(0.9 + fastrand::f64() / 5.0),
        };
        self.doubted = false;
        self.at = (now + wait).max(self.earliest);
    }

    /// The first doubt sets the moment; further ones do not put it off.
    fn doubt(&mut self, doubt: Doubt) {
        if !self.doubted {
            tracing::debug!(reason = doubt.0, "a fresh list is due");
            self.doubted = true;
            self.at = (Instant::now() + self.settings.settle).max(self.earliest);
        }
    }
}
