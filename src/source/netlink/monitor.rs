//! Listening first, then a dump, then events: the loop that keeps a [`Picture`] and tells what changes in it.

use std::time::Duration;

use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_REPLACE, NetlinkPayload};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::author::Authors;
use super::decode::{Decode, Told};
use super::socket::{Socket, is_overrun, messages_of};
use super::{NetlinkError, Settings};
use crate::state::{Event, Side};

/// Why the picture may differ from the kernel's, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt(pub(super) &'static str);

/// What is kept of the kernel by listening to it: each on a socket of its own, so that what overflows one costs nothing
/// to the others.
pub(super) trait Picture: Sized {
    /// What messages tell of it.
    type Change: Decode;
    /// Which side it is.
    const SIDE: Side;
    /// What it is called in the log.
    const NAME: &'static str;
    /// What it listens to.
    const GROUPS: &'static [MulticastGroup];

    /// All of it, from the kernel.
    fn dump(limit: Duration) -> impl Future<Output = Result<Self, NetlinkError>> + Send;

    /// Whether a message is of any interest, by its type and by what follows its header.
    fn interests(&self, _kind: u16, _payload: &[u8]) -> bool {
        true
    }

    /// Takes in an event and adds what it changes to `events`. `replaces` is `NLM_F_REPLACE` of its header.
    fn apply(&mut self, change: Self::Change, replaces: bool, events: &mut Vec<Event>) -> Result<(), Doubt>;

    /// Why a list is not to be trusted during which this was heard.
    fn tears(_change: &Self::Change) -> Option<Doubt> {
        None
    }

    /// Everything as events.
    fn events(&self) -> impl Iterator<Item = Event> + Send;

    /// The events that turn this picture into `fresh`.
    fn difference(&self, fresh: &Self) -> Vec<Event>;

    /// How many things there are, of two kinds.
    fn len(&self) -> (usize, usize);
}

/// Messages that may wait for the end of a dump. More than that is a flood, and a fresh dump costs less.
const LONGEST_QUEUE: usize = 200_000;

/// Datagrams taken as one batch: the engine is told once of what happens at once.
const LARGEST_BATCH: usize = 256;

/// Events of a whole picture that are handed over at once.
const BATCH: usize = 1024;

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

/// A message.
struct Heard<P: Picture> {
    change: P::Change,
    /// It replaces what was there: `NLM_F_REPLACE`.
    replaces: bool,
    /// The port of the socket that asked for the change, `nlmsg_pid`; 0 is the kernel.
    port: u32,
}

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
    fn open<P: Picture>(settings: &Settings) -> Result<Ear, NetlinkError> {
        let socket = Socket::open(P::GROUPS).map_err(NetlinkError::Open)?;
        if let Err(error) = socket.set_receive_buffer(settings.receive_buffer) {
            tracing::debug!(%error, "the receive buffer keeps its size");
        }
        Ok(Ear(socket))
    }

    /// Waits for messages and takes those that are there; `known` says which are of interest. Nothing is lost where the
    /// future is dropped.
    async fn hear<P: Picture>(&mut self, known: Option<&P>, heard: &mut Vec<Heard<P>>) -> Result<(), Gap> {
        let first = self.0.receive().await.map_err(gap)?;
        read(first, known, heard)?;
        self.hear_present(known, heard, LARGEST_BATCH)
    }

    /// Takes what is there, at most so many datagrams.
    fn hear_present<P: Picture>(
        &mut self,
        known: Option<&P>,
        heard: &mut Vec<Heard<P>>,
        most: usize,
    ) -> Result<(), Gap> {
        for _ in 0..most {
            let Some(datagram) = self.0.try_receive().map_err(gap)? else { break };
            read(datagram, known, heard)?;
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

fn read<P: Picture>(datagram: &[u8], known: Option<&P>, heard: &mut Vec<Heard<P>>) -> Result<(), Gap> {
    for message in messages_of(datagram, |kind, payload| known.is_none_or(|it| it.interests(kind, payload))) {
        match message.map(|message| (message.header, message.payload)) {
            Ok((header, NetlinkPayload::InnerMessage(Told(Some(change))))) => {
                let replaces = header.flags & NLM_F_REPLACE != 0;
                heard.push(Heard { change, replaces, port: header.port_number });
            }
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

/// The whole picture as events.
pub(super) fn resync<P: Picture>(picture: &P) -> impl Iterator<Item = Event> + Send {
    let (begin, end) = ([Event::Resync(P::SIDE)], [Event::Synced(P::SIDE)]);
    begin.into_iter().chain(picture.events()).chain(end)
}

/// Follows the kernel until something fails that only a new socket cures. `synced` tells whether it got so far as to
/// have the picture.
pub(super) async fn follow<P: Picture>(
    settings: &Settings,
    events: &mpsc::Sender<Vec<Event>>,
    synced: &mut bool,
) -> Ended {
    let mut ear = match Ear::open::<P>(settings) {
        Ok(ear) => ear,
        Err(error) => return Ended::Failed(error),
    };
    let mut losses: u32 = 0;
    loop {
        match pass::<P>(settings, events, &mut ear, synced, &mut losses).await {
            Ok(never) => match never {},
            Err(Stopped::Lost) => {
                tracing::warn!(of = P::NAME, "messages of the kernel were lost; everything is listed again");
                // Until the new list is whole, nobody knows what they said.
                let why = "messages of the kernel were lost, and the fresh list is not whole yet".to_owned();
                if let Err(Stopped::Ended(ended)) = send(events, vec![Event::Lost(P::SIDE, why)]).await {
                    return ended;
                }
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
async fn pass<P: Picture>(
    settings: &Settings,
    events: &mpsc::Sender<Vec<Event>>,
    ear: &mut Ear,
    synced: &mut bool,
    losses: &mut u32,
) -> Result<std::convert::Infallible, Stopped> {
    ear.forget()?;
    let mut due = Due::new(settings);
    let mut picture: P = listen_and_dump(settings, ear, &mut due).await?;
    let (some, others) = picture.len();
    tracing::info!(of = P::NAME, some, others, "the kernel's picture is known");
    send_all(events, &picture).await?;
    *synced = true;
    let mut heard: Vec<Heard<P>> = Vec::new();
    let mut authors = Authors::new();
    loop {
        tokio::select! {
            result = ear.hear(Some(&picture), &mut heard) => {
                result?;
                let mut changed = Vec::new();
                let mut last = None;
                for Heard { change, replaces, port } in heard.drain(..) {
                    let before = changed.len();
                    if let Err(doubt) = picture.apply(change, replaces, &mut changed) {
                        due.doubt(doubt);
                    }
                    if changed.len() > before && last != Some(port) {
                        changed.insert(before, Event::Origin(authors.author(port)));
                        last = Some(port);
                    }
                }
                if !changed.is_empty() {
                    send(events, changed).await?;
                }
            }
            () = sleep_until(due.at) => {
                let fresh: P = listen_and_dump(settings, ear, &mut due).await?;
                let mut changed = picture.difference(&fresh);
                tracing::debug!(of = P::NAME, differences = changed.len(), "listed again");
                picture = fresh;
                changed.push(Event::Synced(P::SIDE));
                send(events, changed).await?;
                *losses = 0;
            }
        }
    }
}

/// A dump, with what is heard meanwhile applied to it in order. A message says what is or is not there, so one that
/// is older than the dump does no harm: the newest about each thing comes last, and one that does not fit is a doubt.
/// Everything is heard: what was of no interest before may be by now.
async fn listen_and_dump<P: Picture>(settings: &Settings, ear: &mut Ear, due: &mut Due<'_>) -> Result<P, Stopped> {
    let started = Instant::now();
    let mut queue: Vec<Heard<P>> = Vec::new();
    let dump = P::dump(settings.dump_limit);
    tokio::pin!(dump);
    let mut picture = loop {
        tokio::select! {
            biased;
            picture = &mut dump => break picture?,
            result = ear.hear::<P>(None, &mut queue) => result?,
        }
        if queue.len() > LONGEST_QUEUE {
            return Err(Stopped::Lost);
        }
    };
    ear.hear_present::<P>(None, &mut queue, LARGEST_BATCH)?;
    due.dumped(started);
    for Heard { change, replaces, .. } in queue {
        if let Some(doubt) = P::tears(&change) {
            due.doubt(doubt);
        }
        if let Err(doubt) = picture.apply(change, replaces, &mut Vec::new()) {
            due.doubt(doubt);
        }
    }
    Ok(picture)
}

async fn send_all<P: Picture>(events: &mpsc::Sender<Vec<Event>>, picture: &P) -> Result<(), Stopped> {
    let mut all = resync(picture);
    loop {
        let batch: Vec<Event> = all.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(());
        }
        send(events, batch).await?;
    }
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
