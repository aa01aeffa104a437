//! Who is let in with a password: HTTP's basic authentication (RFC 7617) against bcrypt's hashes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::document::Hashes;
use super::section::Section;
use crate::web::clients::Peer;

/// `basic_auth_users`: names and bcrypt's hashes, each of a form that can be checked.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Users(Hashes);

impl fmt::Debug for Users {
    /// Hashes can be guessed at: only names are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Users {
    pub(super) fn parse(section: Section) -> Result<Users, String> {
        let path = section.path().to_owned();
        let users: Hashes = section.entries()?.into_iter().collect();
        for (name, hash) in &users {
            let is_hash = HashParts::from_str(hash).is_ok_and(|parts| (4..=31).contains(&parts.get_cost()));
            if !is_hash {
                return Err(format!("{path}.{name}: not a bcrypt hash; make one with: htpasswd -nBC 10 {name}"));
            }
        }
        Ok(Users(users))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Remembers which passwords were found right: bcrypt is slow on purpose, and a scrape comes every few seconds.
pub(super) struct Doorkeeper {
    key: hmac::Key,
    /// Digests of user, hash and password that fitted; nothing to get the password from. Wrong ones are not kept, or a
    /// stranger could push out what is right.
    verified: Mutex<HashSet<[u8; 32]>>,
    /// One guess at a time: guessing must not take all processors.
    turn: Arc<Semaphore>,
    queue: Mutex<Queue>,
}

/// Guesses that are worked out or wait for it.
#[derive(Default)]
struct Queue {
    guesses: HashMap<Peer, usize>,
    /// How long the last one took.
    took: Duration,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    /// No name and password that fit.
    Unknown,
    /// Too many guesses; a retry is allowed after this many seconds.
    Later(u64),
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorkeeper").finish_non_exhaustive()
    }
}

/// More than any file has users; the oldest hashes' leftovers go when it is reached.
const MOST_VERIFIED: usize = 1024;
/// Guesses at once, the one that is worked out among them, and how many of them one peer may have.
const MOST_GUESSES: usize = 16;
const MOST_OF_PEER: usize = 3;
/// The longest that a guess waits for its turn: no scrape waits longer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Doorkeeper {
    pub(super) fn new() -> Result<Doorkeeper, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system has no random numbers".to_owned())?;
        let turn = Arc::new(Semaphore::new(1));
        Ok(Doorkeeper { key, verified: Mutex::default(), turn, queue: Mutex::default() })
    }

    /// Whether the value of a header `Authorization` lets its sender in. A password that was right before is not worked
    /// out again and waits for nobody.
    pub(super) async fn admits(&self, users: &Users, authorization: Option<&[u8]>, peer: Peer) -> Verdict {
        let Some((name, password)) = authorization.and_then(basic) else { return Verdict::Unknown };
        let (hash, is_known) = match users.0.get(&name) {
            Some(hash) => (hash.clone(), true),
            None => (self.somebodys(users, &name), false),
        };
        let digest = self.digest(&[name.as_bytes(), hash.as_bytes(), &password]);
        if is_known && self.verified().contains(&digest) {
            return Verdict::Admitted;
        }
        let _queued = match Queued::new(self, peer) {
            Ok(queued) => queued,
            Err(seconds) => return Verdict::Later(seconds),
        };
        let Ok(Ok(turn)) = timeout(PATIENCE, self.turn.clone().acquire_owned()).await else {
            return Verdict::Later(self.queue().wait());
        };
        let work = move || {
            let began = Instant::now();
            let fits = bcrypt::verify(password, &hash).unwrap_or(false);
            // It is kept until now, also where whoever guessed has gone: the next one does not come beside it.
            drop(turn);
            (fits, began.elapsed())
        };
        let Ok((fits, took)) = tokio::task::spawn_blocking(work).await else { return Verdict::Unknown };
        self.queue().took = took;
        if !fits || !is_known {
            return Verdict::Unknown;
        }
        let mut verified = self.verified();
        if verified.len() >= MOST_VERIFIED {
            verified.clear();
        }
        verified.insert(digest);
        Verdict::Admitted
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verified(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash that a name nobody has is checked against, always the same one: an answer takes as long as if the name
    /// were somebody's, whatever the costs of the hashes are.
    fn somebodys(&self, users: &Users, name: &str) -> String {
        let pick = usize::from(self.digest(&[name.as_bytes()])[0]) % users.0.len().max(1);
        users.0.values().nth(pick).cloned().unwrap_or_default()
    }

    fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            // Their lengths, so that no two lists of parts read alike.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

impl Queue {
    /// Seconds until those that are here are worked out.
    fn wait(&self) -> u64 {
        let guesses = u32::try_from(self.guesses.values().sum::<usize>()).unwrap_or(u32::MAX);
        (self.took.saturating_mul(guesses).as_secs() + 1).min(60)
    }
}

/// A guess in the queue; it leaves with whoever made it.
struct Queued<'a> {
    keeper: &'a Doorkeeper,
    peer: Peer,
}

impl Queued<'_> {
    /// A place in the queue, or seconds until there may be one.
    fn new(keeper: &Doorkeeper, peer: Peer) -> Result<Queued<'_>, u64> {
        let mut queue = keeper.queue();
        let own = queue.guesses.get(&peer).copied().unwrap_or_default();
        if own >= MOST_OF_PEER || queue.guesses.values().sum::<usize>() >= MOST_GUESSES {
            return Err(queue.wait());
        }
        queue.guesses.insert(peer, own + 1);
        Ok(Queued { keeper, peer })
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut queue = self.keeper.queue();
        match queue.guesses.get_mut(&self.peer) {
            Some(own @ 2..) => *own -= 1,
            _ => drop(queue.guesses.remove(&self.peer)),
        }
    }
}

/// Name and password of `Basic …`.
fn basic(header: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((name, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(entries: &[(&str, &str, u32)]) -> Users {
        let hash =
            |(name, password, cost): &(&str, &str, u32)| ((*name).to_owned(), bcrypt::hash(password, *cost).unwrap());
        Users(entries.iter().map(hash).collect())
    }

    fn header(name: &str, password: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))).into_bytes()
    }

    fn peer(number: u8) -> Peer {
        std::net::IpAddr::from([192, 0, 2, number]).into()
    }

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let users = users(&[("alice", "a:b", 4), ("bob", "", 5)]);
        let keeper = Doorkeeper::new().unwrap();
        for _ in 0..2 {
            assert_eq!(keeper.admits(&users, Some(&header("alice", "a:b")), peer(1)).await, Verdict::Admitted);
            assert_eq!(keeper.admits(&users, Some(&header("bob", "")), peer(1)).await, Verdict::Admitted);
            for (name, password) in [("alice", "a"), ("alice", ""), ("bob", "a:b"), ("carol", "a:b"), ("", "")] {
                assert_eq!(
                    keeper.admits(&users, Some(&header(name, password)), peer(1)).await,
                    Verdict::Unknown,
                    "{name} {password}"
                );
            }
        }
        assert_eq!(keeper.verified().len(), 2, "only what fitted is kept");
        for header in [&b""[..], b"Basic", b"Basic ", b"Basic !!!", b"Basic YWxpY2U=", b"Bearer YWxpY2U6YTpi"] {
            assert_eq!(keeper.admits(&users, Some(header), peer(1)).await, Verdict::Unknown);
        }
        assert_eq!(keeper.admits(&users, None, peer(1)).await, Verdict::Unknown);
        let lower = String::from_utf8(header("alice", "a:b")).unwrap().replace("Basic", "bASIC");
        assert_eq!(keeper.admits(&users, Some(lower.as_bytes()), peer(1)).await, Verdict::Admitted);
    }

    /// A name that is nobody's is checked against a hash as costly as those that are somebody's, and never let in by it.
    #[tokio::test]
    async fn a_name_that_is_nobodys_costs_what_a_name_costs() {
        let users = users(&[("alice", "open", 4), ("bob", "open", 5)]);
        let keeper = Doorkeeper::new().unwrap();
        let costs: HashSet<u32> = (0..64)
            .map(|number| {
                let name = format!("stranger-{number}");
                let hash = keeper.somebodys(&users, &name);
                assert_eq!(hash, keeper.somebodys(&users, &name));
                HashParts::from_str(&hash).unwrap().get_cost()
            })
            .collect();
        assert_eq!(costs, HashSet::from([4, 5]));
        assert_eq!(keeper.admits(&users, Some(&header("stranger", "open")), peer(1)).await, Verdict::Unknown);
    }

    #[tokio::test]
    async fn another_hash_is_another_password() {
        let keeper = Doorkeeper::new().unwrap();
        let (before, after) = (users(&[("alice", "old", 4)]), users(&[("alice", "new", 4)]));
        assert_eq!(keeper.admits(&before, Some(&header("alice", "old")), peer(1)).await, Verdict::Admitted);
        assert_eq!(keeper.admits(&after, Some(&header("alice", "old")), peer(1)).await, Verdict::Unknown);
        assert_eq!(keeper.admits(&after, Some(&header("alice", "new")), peer(1)).await, Verdict::Admitted);
        assert!(!format!("{before:?} {keeper:?}").contains('$'));
    }

    /// The queue is full of one peer's guesses, and of all peers'; a password that was right before waits for none.
    #[tokio::test]
    async fn guesses_that_wait_keep_nobody_out_who_was_let_in_before() {
        let users = users(&[("alice", "open", 4)]);
        let keeper = Doorkeeper::new().unwrap();
        assert_eq!(keeper.admits(&users, Some(&header("alice", "open")), peer(1)).await, Verdict::Admitted);
        // Somebody's guess that takes for ever.
        let turn = keeper.turn.clone().acquire_owned().await.unwrap();
        let wrong = header("alice", "wrong");
        let mut waiting: Vec<_> = Vec::new();
        for number in 0..MOST_GUESSES {
            let from = peer(2 + u8::try_from(number / MOST_OF_PEER).unwrap());
            let mut guess = Box::pin(keeper.admits(&users, Some(&wrong), from));
            assert!(timeout(Duration::from_millis(1), &mut guess).await.is_err(), "{number} waits");
            waiting.push(guess);
            if number == MOST_OF_PEER - 1 {
                assert_eq!(keeper.admits(&users, Some(&wrong), from).await, Verdict::Later(1), "one peer's are full");
            }
        }
        assert_eq!(keeper.admits(&users, Some(&wrong), peer(99)).await, Verdict::Later(1), "all are full");
        assert_eq!(keeper.admits(&users, Some(&header("alice", "open")), peer(99)).await, Verdict::Admitted);
        // Those who leave make room, and the turn goes on.
        waiting.clear();
        assert!(keeper.queue().guesses.is_empty());
        drop(turn);
        assert_eq!(keeper.admits(&users, Some(&wrong), peer(99)).await, Verdict::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn no_guess_waits_for_ever() {
        let users = users(&[("alice", "open", 4)]);
        let keeper = Doorkeeper::new().unwrap();
        let _turn = keeper.turn.clone().acquire_owned().await.unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(keeper.admits(&users, Some(&header("alice", "open")), peer(1)).await, Verdict::Later(1));
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
