//! Who claims one CIDR: nearly always one host, so that a sorted list is all it takes. (A tree's smallest node has room
//! for eleven, and there are as many CIDRs as blocks.)

use crate::model::BlockOwner;

use super::datastore::AffinityEntry;

/// Readable keys of one CIDR, sorted by owner.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(Box<[(BlockOwner, AffinityEntry)]>);

impl Claims {
    fn place(&self, owner: &BlockOwner) -> Result<usize, usize> {
        self.0.binary_search_by(|(it, _)| it.cmp(owner))
    }

    pub(super) fn get(&self, owner: &BlockOwner) -> Option<&AffinityEntry> {
        self.place(owner).ok().map(|at| &self.0[at].1)
    }

    pub(super) fn insert(&mut self, owner: BlockOwner, entry: AffinityEntry) {
        match self.place(&owner) {
            Ok(at) => self.0[at].1 = entry,
            Err(at) => {
                let mut claims = std::mem::take(&mut self.0).into_vec();
                claims.reserve_exact(1);
                claims.insert(at, (owner, entry));
                self.0 = claims.into();
            }
        }
    }

    pub(super) fn remove(&mut self, owner: &BlockOwner) {
        if let Ok(at) = self.place(owner) {
            let mut claims = std::mem::take(&mut self.0).into_vec();
            claims.remove(at);
            self.0 = claims.into();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&BlockOwner, &AffinityEntry)> + '_ {
        self.0.iter().map(|(owner, entry)| (owner, entry))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::AffinityState;

    #[test]
    fn claims_are_sorted_and_each_owner_has_one() {
        let entry = |state| AffinityEntry { state, since: Duration::ZERO };
        let host = |name: &str| BlockOwner::Host(name.into());
        let mut claims = Claims::default();
        for name in ["h2", "h1", "h3", "h2"] {
            claims.insert(host(name), entry(AffinityState::Pending));
        }
        claims.insert(host("h1"), entry(AffinityState::Confirmed));
        claims.remove(&host("h3"));
        claims.remove(&host("h4"));
        let found: Vec<_> = claims.iter().map(|(owner, entry)| (owner.to_string(), entry.state.as_str())).collect();
        assert_eq!(found, [("host:h1".to_owned(), "confirmed"), ("host:h2".to_owned(), "pending")]);
        assert!(claims.get(&host("h3")).is_none() && !claims.is_empty());
    }
}
