//! Who is connected, what each is being answered, and who gives way where there is not enough for all: places for
//! connections, leaves to be served, and bytes that wait for their readers.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};

mod table;

use table::{Asker, Due, Table, Turn};

/// How long a connection may take over what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For its first request, TLS' handshake before it.
    pub(super) first: Duration,
    /// For each further one.
    pub(super) idle: Duration,
    /// For a reader to take more of one answer.
    pub(super) progress: Duration,
    /// For one answer to be taken.
    pub(super) answer: Duration,
    /// An answer that nobody took any of for so long gives way to somebody who waits.
    pub(super) stalled: Duration,
}

/// Where a client comes from: an IPv4 address, or the /64 of an IPv6 address, all of which one client can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Peer {
        Peer(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    places: Arc<Semaphore>,
    patience: Patience,
    table: Mutex<Table>,
}

/// Too much is asked for at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

impl Clients {
    /// How often somebody who waits checks whether there is room now: an answer may have stalled meanwhile.
    const GLANCE: Duration = Duration::from_millis(20);

    pub(super) fn new(places: usize, patience: Patience) -> Arc<Clients> {
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Arc::new(Clients { places, patience, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection, once there is one.
    pub(super) async fn place(self: &Arc<Self>, peer: Peer) -> Connection {
        let permit = loop {
            if self.places.available_permits() == 0 {
                self.make_room(peer);
            }
            match timeout(Self::GLANCE, self.places.clone().acquire_owned()).await {
                Ok(Ok(permit)) => break permit,
                // Nobody closes the semaphore.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {}
            }
        };
        let evicted = Arc::new(Notify::new());
        let number = self.table().connect(peer, evicted.clone(), Instant::now());
        Connection { clients: self.clone(), number, peer, evicted, changed: Arc::default(), _permit: permit }
    }

    /// Has a connection go, so that one from `peer` has its place.
    pub(super) fn make_room(&self, peer: Peer) {
        if let Some(evicted) = self.table().victim(peer, self.patience.stalled, Instant::now()) {
            evicted.notify_one();
        }
    }
}

/// A connection, in its place until this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    clients: Arc<Clients>,
    number: u64,
    pub(super) peer: Peer,
    /// Rung when it has to go.
    evicted: Arc<Notify>,
    /// Rung when something begins that may be due earlier than all before it.
    changed: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Begins an answer. `stop` is rung to have it given up; without one its connection is.
    pub(super) fn begin(&self, stop: Option<Arc<Notify>>) -> Ongoing {
        let answer = self.clients.table().begin(self.number, stop, Instant::now());
        Ongoing {
            clients: self.clients.clone(),
            connection: self.number,
            answer,
            peer: self.peer,
            changed: self.changed.clone(),
        }
    }

    /// What of this connection's answers was written to the socket: progress, where there is one answer at a time.
    pub(super) fn wrote(&self) {
        self.clients.table().wrote(self.number, Instant::now());
    }

    /// Returns when the connection has lasted longer than it may, or has to make room.
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.evicted.notified() => {}
            () = self.late() => {}
        }
    }

    async fn late(&self) {
        loop {
            let due = self.clients.table().due(self.number, &self.clients.patience, Instant::now());
            match due {
                Due::Over => return,
                Due::At(deadline) => tokio::select! {
                    () = sleep_until(deadline) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.clients.table().disconnect(self.number);
    }
}

/// An answer that is not done.
#[derive(Debug)]
pub(super) struct Ongoing {
    clients: Arc<Clients>,
    connection: u64,
    answer: u64,
    peer: Peer,
    changed: Arc<Notify>,
}

impl Ongoing {
    /// Longest wait for a leave: less than a scrape may take.
    const PATIENCE: Duration = Duration::from_millis(1500);

    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// Who asks may ask.
    pub(super) fn admitted(&self) {
        self.clients.table().admit(self.connection);
    }

    /// The answer is made: from now on it is its reader who is waited for. `body` names the bytes, so that those that
    /// several readers share count once.
    pub(super) fn sending(&self, body: usize, length: u64) {
        self.clients.table().sending(self.connection, self.answer, (body, length), Instant::now());
        self.changed.notify_one();
    }

    /// Its reader has taken some of it.
    pub(super) fn progressed(&self) {
        self.clients.table().progressed(self.connection, self.answer, Instant::now());
    }

    /// A leave to be served, one of `limit`; who waits in vain is refused. A peer has at most half of them, and a
    /// connection a quarter, so that no client has them all.
    pub(super) async fn leave(&self, limit: usize) -> Result<Arc<Leave>, Busy> {
        let asker = Asker { peer: self.peer, connection: self.connection, answer: self.answer };
        let waiter = self.clients.table().wait(asker, limit).ok_or(Busy)?;
        let _waiting = Waiting { clients: &self.clients, waiter };
        let give_up = Instant::now() + Self::PATIENCE;
        loop {
            let turn = self.clients.table().turn(waiter, limit, self.clients.patience.stalled, Instant::now());
            match turn {
                Turn::Leave(number) => return Ok(Arc::new(Leave { clients: self.clients.clone(), number })),
                Turn::Refused => return Err(Busy),
                Turn::Wait if Instant::now() >= give_up => return Err(Busy),
                Turn::Wait => sleep(Clients::GLANCE).await,
            }
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.clients.table().end(self.connection, self.answer, Instant::now());
    }
}

/// Somebody who waits for a leave.
struct Waiting<'a> {
    clients: &'a Clients,
    waiter: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.clients.table().wait_no_more(self.waiter);
    }
}

/// The leave to be served: until the answer is taken, and the work for it is over, though nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Leave {
    clients: Arc<Clients>,
    number: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.clients.table().give_back(self.number);
    }
}

#[cfg(test)]
mod tests;
