//! Who is let in with a password: HTTP's basic authentication (RFC 7617) against bcrypt's hashes.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use super::document::Hashes;
use super::section::Section;

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
    turn: Semaphore,
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorkeeper").finish_non_exhaustive()
    }
}

/// More than any file has users; the oldest hashes' leftovers go when it is reached.
const MOST_VERIFIED: usize = 1024;

impl Doorkeeper {
    pub(super) fn new() -> Result<Doorkeeper, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system has no random numbers".to_owned())?;
        Ok(Doorkeeper { key, verified: Mutex::default(), turn: Semaphore::new(1) })
    }

    /// Whether the value of a header `Authorization` lets its sender in.
    pub(super) async fn admits(&self, users: &Users, authorization: Option<&[u8]>) -> bool {
        let Some((name, password)) = authorization.and_then(basic) else { return false };
        let (hash, is_known) = match users.0.get(&name) {
            Some(hash) => (hash.clone(), true),
            None => (self.somebodys(users, &name), false),
        };
        let digest = self.digest(&[name.as_bytes(), hash.as_bytes(), &password]);
        if is_known && self.verified().contains(&digest) {
            return true;
        }
        let Ok(_turn) = self.turn.acquire().await else { return false };
        let fits = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        let admitted = is_known && fits.unwrap_or(false);
        if admitted {
            let mut verified = self.verified();
            if verified.len() >= MOST_VERIFIED {
                verified.clear();
            }
            verified.insert(digest);
        }
        admitted
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
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

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let users = users(&[("alice", "a:b", 4), ("bob", "", 5)]);
        let keeper = Doorkeeper::new().unwrap();
        for _ in 0..2 {
            assert!(keeper.admits(&users, Some(&header("alice", "a:b"))).await);
            assert!(keeper.admits(&users, Some(&header("bob", ""))).await);
            for (name, password) in [("alice", "a"), ("alice", ""), ("bob", "a:b"), ("carol", "a:b"), ("", "")] {
                assert!(!keeper.admits(&users, Some(&header(name, password))).await, "{name} {password}");
            }
        }
        assert_eq!(keeper.verified().len(), 2, "only what fitted is kept");
        for header in [&b""[..], b"Basic", b"Basic ", b"Basic !!!", b"Basic YWxpY2U=", b"Bearer YWxpY2U6YTpi"] {
            assert!(!keeper.admits(&users, Some(header)).await);
        }
        assert!(!keeper.admits(&users, None).await);
        let lower = String::from_utf8(header("alice", "a:b")).unwrap().replace("Basic", "bASIC");
        assert!(keeper.admits(&users, Some(lower.as_bytes())).await);
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
        assert!(!keeper.admits(&users, Some(&header("stranger", "open"))).await);
    }

    #[tokio::test]
    async fn another_hash_is_another_password() {
        let keeper = Doorkeeper::new().unwrap();
        let (before, after) = (users(&[("alice", "old", 4)]), users(&[("alice", "new", 4)]));
        assert!(keeper.admits(&before, Some(&header("alice", "old"))).await);
        assert!(!keeper.admits(&after, Some(&header("alice", "old"))).await);
        assert!(keeper.admits(&after, Some(&header("alice", "new"))).await);
        assert!(!format!("{before:?} {keeper:?}").contains('$'));
    }
}
