//! Judging where only affinity keys and this host's blocks are followed: first by what is followed, and only where that
//! does not explain a destination by what other hosts' blocks said when they were read.

use std::time::Duration;

use ipnet::IpNet;

use super::Verdict;
use crate::audit::expect::Context;
use crate::audit::report::RouteClass;

/// What others' blocks have to say of a destination that keys alone do not explain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::audit) struct Doubt {
    /// Blocks that decide.
    pub blocks: Vec<IpNet>,
    /// All of them were read, since the route is what it is.
    pub told: bool,
    /// A key says what ought to be there; else nothing that is followed expects the route.
    pub by_key: bool,
}

impl Doubt {
    /// A key asks for the route, and the block may be gone: no fault before it was read.
    pub(in crate::audit) fn is_unconfirmed(&self) -> bool {
        self.by_key && !self.told
    }
}

impl Context<'_> {
    /// Judges one destination. `changed`: when its route last changed, as far as that was seen.
    pub(in crate::audit) fn judge(&self, destination: &IpNet, changed: Option<Duration>) -> Verdict {
        if self.datastore.follows_blocks() {
            return self.judge_known(destination);
        }
        let by_keys = Context { reads: false, ..*self }.judge_known(destination);
        let foreign = by_keys.actual.is_some_and(|(class, _)| class == RouteClass::Foreign);
        if by_keys.difference.is_none() && !foreign {
            return by_keys;
        }
        let blocks = self.questions(destination);
        if blocks.is_empty() {
            return by_keys;
        }
        let by_key = by_keys.difference.as_ref().is_some_and(|it| it.programmer.is_some());
        // A route that nothing expects may be that of an address given away a moment ago: what was read before says
        // nothing of it.
        let since = changed.filter(|_| !by_key).unwrap_or_default();
        let told = blocks.iter().all(|cidr| self.datastore.read(cidr).is_some_and(|read| read.at >= since));
        let mut verdict = self.judge_known(destination);
        if !told && !by_key {
            verdict.difference = None;
        }
        verdict.doubt = Some(Box::new(Doubt { blocks, told, by_key }));
        verdict
    }
}
