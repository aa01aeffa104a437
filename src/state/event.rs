//! The only thing a source says: what was put, deleted, or could not be read, and how current the source is.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::history::Author;
use super::tunnels::Table;
use crate::model::{
    AllocationBlock, BgpConfiguration, BgpPeer, BlockAffinity, BlockOwner, ClusterInformation, EndpointId, Family,
    FdbEntry, FelixConfiguration, Handle, IpPool, IpReservation, IpamConfig, Link, Mac, Name, Neighbour, Node,
    PolicyRule, Route, RouteKey, WorkloadEndpoint,
};

/// Which side a source describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Calico's objects.
    Datastore,
    /// Links and routes.
    Kernel,
    /// Neighbours and forwarding entries of the tunnel devices, and policy rules.
    Tunnels,
}

impl Side {
    /// Its name in the history.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Datastore => "datastore",
            Side::Kernel => "kernel",
            Side::Tunnels => "tunnel tables",
        }
    }
}

/// An object of the datastore.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// An allocation block.
    Block(AllocationBlock),
    /// An affinity key.
    Affinity(BlockAffinity),
    /// A handle.
    Handle(Handle),
    /// The IPAM configuration.
    IpamConfig(IpamConfig),
    /// An IP pool.
    Pool(IpPool),
    /// An IP reservation.
    Reservation(IpReservation),
    /// A node.
    Node(Name, Node),
    /// A workload endpoint.
    Endpoint(WorkloadEndpoint),
    /// A Felix configuration.
    Felix(Name, FelixConfiguration),
    /// A BGP configuration.
    BgpConfiguration(Name, BgpConfiguration),
    /// A BGP peer.
    BgpPeer(Name, BgpPeer),
    /// The cluster's description.
    Cluster(ClusterInformation),
}

impl Object {
    /// Its identity.
    pub fn id(&self) -> ObjectId {
        match self {
            Object::Block(block) => ObjectId::Block(block.cidr),
            Object::Affinity(affinity) => ObjectId::Affinity(affinity.owner.clone(), affinity.cidr),
            Object::Handle(handle) => ObjectId::Handle(handle.id.clone()),
            Object::IpamConfig(_) => ObjectId::IpamConfig,
            Object::Pool(pool) => ObjectId::Pool(pool.name.clone()),
            Object::Reservation(reservation) => ObjectId::Reservation(reservation.name.clone()),
            Object::Node(name, _) => ObjectId::Node(name.clone()),
            Object::Endpoint(endpoint) => ObjectId::Endpoint(endpoint.id.clone()),
            Object::Felix(name, _) => ObjectId::Felix(name.clone()),
            Object::BgpConfiguration(name, _) => ObjectId::BgpConfiguration(name.clone()),
            Object::BgpPeer(name, _) => ObjectId::BgpPeer(name.clone()),
            Object::Cluster(_) => ObjectId::Cluster,
        }
    }
}

/// The identity of an object, known from where it is stored even if its value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectId {
    /// A block, by its masked CIDR.
    Block(IpNet),
    /// An affinity, by who claims and what.
    Affinity(BlockOwner, IpNet),
    /// A handle, by its sanitized id.
    Handle(Name),
    /// The IPAM configuration.
    IpamConfig,
    /// A pool, by name.
    Pool(Name),
    /// A reservation, by name.
    Reservation(Name),
    /// A node, by name.
    Node(Name),
    /// An endpoint.
    Endpoint(EndpointId),
    /// A Felix configuration, by name.
    Felix(Name),
    /// A BGP configuration, by name.
    BgpConfiguration(Name),
    /// A BGP peer, by name.
    BgpPeer(Name),
    /// The cluster's description (`default`).
    Cluster,
    /// Something of a known kind whose place itself cannot be read, by that place as text.
    Malformed(Kind, Name),
}

/// The kinds of objects: the label `kind` of `calico_exporter_undecodable_keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the kind of the object of the same name")]
pub enum Kind {
    Block,
    Affinity,
    Handle,
    IpamConfig,
    Pool,
    Reservation,
    Node,
    Endpoint,
    Felix,
    BgpConfiguration,
    BgpPeer,
    Cluster,
}

impl Kind {
    /// All kinds, in the order of the catalogue.
    pub const ALL: [Kind; 12] = [
        Kind::Block,
        Kind::Affinity,
        Kind::Handle,
        Kind::IpamConfig,
        Kind::Pool,
        Kind::Reservation,
        Kind::Node,
        Kind::Endpoint,
        Kind::Felix,
        Kind::BgpConfiguration,
        Kind::BgpPeer,
        Kind::Cluster,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Block => "block",
            Kind::Affinity => "affinity",
            Kind::Handle => "handle",
            Kind::IpamConfig => "ipamconfig",
            Kind::Pool => "ippool",
            Kind::Reservation => "ipreservation",
            Kind::Node => "node",
            Kind::Endpoint => "workloadendpoint",
            Kind::Felix => "felixconfiguration",
            Kind::BgpConfiguration => "bgpconfiguration",
            Kind::BgpPeer => "bgppeer",
            Kind::Cluster => "clusterinformation",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ObjectId {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            ObjectId::Block(_) => Kind::Block,
            ObjectId::Affinity(..) => Kind::Affinity,
            ObjectId::Handle(_) => Kind::Handle,
            ObjectId::IpamConfig => Kind::IpamConfig,
            ObjectId::Pool(_) => Kind::Pool,
            ObjectId::Reservation(_) => Kind::Reservation,
            ObjectId::Node(_) => Kind::Node,
            ObjectId::Endpoint(_) => Kind::Endpoint,
            ObjectId::Felix(_) => Kind::Felix,
            ObjectId::BgpConfiguration(_) => Kind::BgpConfiguration,
            ObjectId::BgpPeer(_) => Kind::BgpPeer,
            ObjectId::Cluster => Kind::Cluster,
            ObjectId::Malformed(kind, _) => *kind,
        }
    }
}

/// Why a stored value says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not what Calico writes; the text says where it stops making sense.
    Undecodable(String),
    /// A block whose value names another CIDR than its key (J2).
    CidrDiffers(IpNet),
}

/// What a source says.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A fresh list begins: what is not named until [`Event::Synced`] is gone.
    Resync(Side),
    /// The list is complete, or the source has caught up: its picture is current.
    Synced(Side),
    /// The picture is not current any more; what is known stays.
    Lost(Side, String),
    /// What the source is not allowed to read, as of now: each resource as it is named where permissions are given.
    Denied(Side, Vec<Name>),
    /// An object exists with this content.
    Put(Box<Object>),
    /// An object exists and its value says nothing. Never a deletion.
    Unreadable {
        /// Which object.
        id: ObjectId,
        /// Where it is stored, as an operator would look it up.
        key: Name,
        /// Why.
        why: Unreadable,
    },
    /// An object does not exist any more (or is marked `deleted`: J2).
    Delete(ObjectId),
    /// An object that was asked for is what it was when it was last read: see [`Lookup`](super::Lookup).
    Same(ObjectId),
    /// A device exists with these attributes.
    Link(Link),
    /// A device is gone, by `ifindex`.
    LinkGone(u32),
    /// A route exists with these attributes.
    Route(Route),
    /// A route is gone.
    RouteGone(RouteKey),
    /// A neighbour of a tunnel device is as told.
    Neighbour(Neighbour),
    /// A neighbour is gone, by `ifindex` and address.
    NeighbourGone(u32, IpAddr),
    /// A forwarding entry of a tunnel device is as told.
    Fdb(FdbEntry),
    /// A forwarding entry is gone, by `ifindex` and MAC.
    FdbGone(u32, Mac),
    /// The family's policy rules, all of them, in the order in which they are asked.
    Rules(Family, Vec<PolicyRule>),
    /// Who asked for the changes that follow in this batch, until the next of these.
    Origin(Author),
    /// The table is listed: what was not told of it before the side is [`Event::Synced`] is not there.
    Listed(Table),
}
