//! BGPConfiguration and BGPPeer (`api/pkg/apis/projectcalico/v3/{bgpconfig,bgppeer}.go`).

use std::net::IpAddr;

use super::{Name, ProgramClusterRoutes};

/// One BGPConfiguration: `default` or `node.NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BgpConfiguration {
    /// The resource's name.
    pub name: Option<Name>,
    /// `nodeToNodeMeshEnabled`; true where unset.
    pub mesh: Option<bool>,
    /// The cluster's AS number; 64512 where unset.
    pub as_number: Option<u32>,
    /// `programClusterRoutes`.
    pub program_cluster_routes: Option<ProgramClusterRoutes>,
}

/// `nextHopMode` of a BGPPeer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHopMode {
    /// BIRD's default for the kind of session.
    Auto,
    /// The sender sets itself.
    SelfHop,
    /// The sender keeps what it learnt.
    Keep,
}

/// `peerIP`, with an optional port that plays no part here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAddress {
    /// An address.
    Address(IpAddr),
    /// Text that is no address. The peer is somebody unknown.
    Unreadable(String),
}

/// One BGPPeer: sessions from the nodes it selects to the peers it names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BgpPeer {
    /// The resource's name.
    pub name: Option<Name>,
    /// `node`: this one node. Empty with an empty selector: all nodes.
    pub node: Option<Name>,
    /// `nodeSelector`.
    pub node_selector: Option<String>,
    /// `peerIP`.
    pub peer_ip: Option<PeerAddress>,
    /// `peerSelector`: the peers are nodes.
    pub peer_selector: Option<String>,
    /// `asNumber` of the peer.
    pub as_number: Option<u32>,
    /// `filters`: names of BGPFilters.
    pub filters: Vec<String>,
    /// `keepOriginalNextHop` or `nextHopMode`.
    pub next_hop_mode: Option<NextHopMode>,
    /// `reversePeering: Manual`: the other side is configured by a BGPPeer of its own.
    pub reverse_manual: bool,
    /// `localWorkloadSelector`: the peers are local workloads.
    pub local_workload_selector: Option<String>,
}
