//! Which hosts `calico_host_route_faults` names: a host whose every route is gone must not make a series for each of
//! thousands of others.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Name;

/// Hosts that an exporter names. Its series are `NAMED_HOSTS` times classes and reasons at most, which at 5,000 hosts
/// that miss each other keeps Prometheus below two million series instead of 25 million; the rest are `others`.
pub const NAMED_HOSTS: usize = 32;

/// The hosts that are named now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NamedHosts(BTreeSet<Name>);

impl NamedHosts {
    /// Names those with most faults, and keeps a name while the host has any: a series that comes and goes says nothing.
    pub(super) fn update(&mut self, faults: &BTreeMap<Name, u64>) {
        self.0.retain(|host| faults.contains_key(host));
        let mut rest: Vec<(&Name, &u64)> = faults.iter().filter(|(host, _)| !self.0.contains(*host)).collect();
        rest.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
        let room = NAMED_HOSTS.saturating_sub(self.0.len());
        self.0.extend(rest.into_iter().take(room).map(|(host, _)| host.clone()));
    }

    pub(super) fn names(&self) -> &BTreeSet<Name> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(of: impl IntoIterator<Item = (usize, u64)>) -> BTreeMap<Name, u64> {
        of.into_iter().map(|(host, count)| (Name::from(format!("h{host:04}")), count)).collect()
    }

    #[test]
    fn those_with_most_faults_are_named_and_no_more_than_the_limit() {
        let mut named = NamedHosts::default();
        named.update(&faults((0..5000).map(|host| (host, host as u64 % 100))));
        assert_eq!(named.names().len(), NAMED_HOSTS);
        assert!(named.names().iter().all(|host| host.ends_with("99")), "{named:?}");
    }

    #[test]
    fn a_host_keeps_its_name_while_it_has_faults_and_no_longer() {
        let mut named = NamedHosts::default();
        named.update(&faults([(1, 1)]));
        named.update(&faults((1..100).map(|host| (host, host as u64))));
        assert!(named.names().contains("h0001") && !named.names().contains("h0068"), "{named:?}");
        named.update(&faults((2..100).map(|host| (host, host as u64))));
        assert!(!named.names().contains("h0001") && named.names().contains("h0068"), "{named:?}");
        named.update(&faults([]));
        assert!(named.names().is_empty());
    }
}
