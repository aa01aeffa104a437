//! What the judging of routes is derived from: settings, sessions, this host's Node, and which Nodes' addresses are
//! questioned. It is worked out again when the datastore's configuration changes.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::bgp::Sessions;
use super::cannot_tell::knows_host;
use super::diverted::Walks;
use super::expect::Context;
use super::fault::{Fault, TunnelReason};
use super::finding::Finding;
use super::judge::{Difference, Verdict};
use super::setting::{Backend, FelixOverrides, Setting};
use super::underlay::Asked;
use super::wireguard::Wireguard;
use crate::model::{Family, Name, Route, TunnelKind};
use crate::state::State;

/// Settings, sessions and addresses that every verdict depends on.
#[derive(Debug, Clone)]
pub(super) struct Derived {
    pub(super) setting: Setting,
    pub(super) sessions: Sessions,
    /// See [`Context::parents`].
    pub(super) parents: [Option<Name>; 2],
    pub(super) bird_meant: bool,
    pub(super) own_node: OwnNode,
    pub(super) routed_by_others: bool,
    /// Nodes whose address is questioned, and in which families: what follows from that is not judged (J34).
    pub(super) questioned: BTreeMap<Name, BTreeSet<Family>>,
    /// What WireGuard is to encrypt.
    pub(super) wireguard: Wireguard,
    /// See [`Context::has_tables`].
    pub(super) has_tables: bool,
    /// Nodes' routing addresses.
    pub(super) node_addresses: BTreeSet<IpAddr>,
    /// What policy rules make of packets (J41).
    pub(super) walks: Walks,
    /// The families in which the datastore describes no session at all from this Node (J37).
    pub(super) no_session: [bool; 2],
}

impl Derived {
    /// From the datastore alone; the audit fills in the rest on each refresh.
    pub(super) fn of(state: &State, me: &Name, backend: Backend, felix: &FelixOverrides) -> Derived {
        Derived {
            setting: Setting::of(&state.datastore, me).overridden(felix).told(backend),
            sessions: Sessions::new(&state.datastore),
            parents: Default::default(),
            bird_meant: false,
            own_node: OwnNode::There,
            routed_by_others: backend == Backend::None
                || state.datastore.cluster().is_some_and(|cluster| cluster.has_type("canal")),
            questioned: BTreeMap::new(),
            wireguard: Wireguard::default(),
            has_tables: false,
            node_addresses: BTreeSet::new(),
            walks: Walks::default(),
            no_session: [false; 2],
        }
    }

    /// Judges one destination. Without its Node nothing of this host can be right or wrong (J35), and what follows from a
    /// Node's questioned address is not told beside it (J34).
    pub(super) fn judge(&self, context: &Context<'_>, destination: &IpNet, changed: Option<Duration>) -> Verdict {
        let mut verdict = context.judge(destination, changed);
        if self.own_node != OwnNode::There {
            return verdict.unjudged();
        }
        if let Some(difference) = context.diverted(&self.walks, destination, &verdict) {
            verdict.difference = Some(Box::new(difference));
        }
        let follows = |difference: &Difference| {
            difference.host != *context.me && self.is_questioned(&difference.host, Family::of_net(destination))
        };
        if verdict.difference.as_deref().is_some_and(follows) {
            verdict.difference = None;
        }
        verdict
    }

    pub(super) fn is_questioned(&self, node: &Name, family: Family) -> bool {
        self.questioned.get(node).is_some_and(|families| families.contains(&family))
    }

    /// Whether a fault of this host's devices follows from its Node's address (J34): what is compared with the device
    /// that the address is on.
    pub(super) fn follows_from_address(&self, finding: &Finding, me: &Name) -> bool {
        let Fault::Tunnel(
            device,
            TunnelReason::WrongParent | TunnelReason::MtuTooHigh | TunnelReason::WrongLocalAddress,
        ) = &finding.fault
        else {
            return false;
        };
        TunnelKind::of_device(device).is_some_and(|kind| self.is_questioned(me, kind.family()))
    }

    /// What the ways to the other Nodes are judged by.
    pub(super) fn asked<'a>(&'a self, state: &'a State, me: &'a Name, live: bool) -> Asked<'a> {
        Asked { state, setting: &self.setting, wireguard: &self.wireguard, me, live }
    }

    /// What expectations are computed from.
    pub(super) fn context<'a>(&'a self, state: &'a State, me: &'a Name, examined: &'a Cell<usize>) -> Context<'a> {
        Context {
            datastore: &state.datastore,
            kernel: &state.kernel,
            me,
            node: state.datastore.node(me),
            setting: &self.setting,
            parents: &self.parents,
            sessions: &self.sessions,
            bird_meant: self.bird_meant,
            routed_by_others: self.routed_by_others,
            reads: true,
            wireguard: &self.wireguard,
            rules: Family::ALL.map(|family| state.tunnels.rules(family)),
            has_tables: self.has_tables,
            examined,
        }
    }
}

/// Whether this host's Node is there (J35).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnNode {
    /// It is, readable or not.
    There,
    /// It is gone, and this host is in use: it was deleted under living pods.
    Missing,
    /// Nothing belongs to a host of this name.
    Unknown,
}

impl OwnNode {
    /// Whether the Node of this host is there.
    pub(super) fn of(state: &State, setting: &Setting, me: &Name) -> OwnNode {
        let (datastore, kernel) = (&state.datastore, &state.kernel);
        if datastore.nodes().contains_key(me) || datastore.is_unreadable_node(me) {
            return OwnNode::There;
        }
        let is_workload = |device: &str| setting.is_workload_device(device);
        let through = |route: &Route| route.next_hops.iter().any(|hop| hop.device.as_deref().is_some_and(is_workload));
        let in_use = kernel.links().any(|link| is_workload(&link.name))
            || !kernel.knows_links() && kernel.main_routes().any(through);
        if in_use || knows_host(datastore, me) { OwnNode::Missing } else { OwnNode::Unknown }
    }
}
