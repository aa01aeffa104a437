//! Why something is a fault: the values of the label `reason`, an enum for each series.

use crate::audit::report::RouteClass;
use crate::model::{TunnelKind, label_values};

label_values! {
    /// How a block's two lists disagree on an address (J3).
    pub enum MismatchReason {
        /// In both lists: the allocator will hand it out again.
        AllocatedAndUnallocated = "allocated_and_unallocated",
        /// In neither list: lost to the allocator.
        Neither = "neither",
        /// Listed as free twice.
        Duplicate = "duplicate",
    }
}

label_values! {
    /// What makes a block invalid (J3).
    pub enum BlockReason {
        /// An ordinal points to an attribute that does not exist.
        BadAttributeIndex = "bad_attribute_index",
        /// No ordinal points to an attribute.
        UnreferencedAttribute = "unreferenced_attribute",
        /// `unallocated` lists an ordinal past the block's end.
        UnallocatedOutOfRange = "unallocated_out_of_range",
        /// `allocations` has another length than the block.
        WrongLength = "wrong_length",
        /// Another block holds some of its addresses.
        Overlap = "overlap",
        /// Its size is not its pool's.
        WrongBlockSize = "wrong_block_size",
        /// No pool contains it.
        OutsideAnyPool = "outside_any_pool",
        /// Its value names another CIDR than its key.
        CidrDiffersFromKey = "cidr_differs_from_key",
        /// A sequence number of an allocation is newer than the block's.
        SequenceNumber = "sequence_number",
    }
}

label_values! {
    /// How a block and the keys that claim it disagree (J7).
    pub enum AffinityReason {
        /// A key, and no block.
        WithoutBlock = "without_block",
        /// A block whose owner has no key.
        BlockWithoutAffinity = "block_without_affinity",
        /// A confirmed key to a block of another, or of nobody.
        BlockNotAffine = "block_not_affine",
        /// Two keys that are not pending.
        TwoHosts = "two_hosts",
        /// A key of a host that has no Node.
        UnknownHost = "unknown_host",
        /// A claim that was begun and not finished.
        StuckPending = "stuck_pending",
        /// A release that was begun and not finished.
        StuckPendingDeletion = "stuck_pending_deletion",
        /// An empty block of nobody.
        EmptyWithoutAffinity = "empty_without_affinity",
        /// A host with more blocks than the limit.
        OverBlockLimit = "over_block_limit",
    }
}

label_values! {
    /// How a handle and the allocations that name it disagree (J9).
    pub enum HandleReason {
        /// No allocation names the handle.
        NoAllocation = "no_allocation",
        /// An allocation names a handle that does not exist.
        MissingHandle = "missing_handle",
        /// The handle counts fewer addresses than name it.
        UnderCount = "under_count",
    }
}

label_values! {
    /// How an allocation and the endpoints that use it disagree, in the order in which they are judged (J10).
    pub enum LeakReason {
        /// The allocation's node has no Node.
        OnUnknownHost = "on_unknown_host",
        /// No endpoint has the address.
        AllocatedNotInUse = "allocated_not_in_use",
        /// None of its endpoints is on the allocation's node.
        OnAnotherNode = "on_another_node",
        /// Its only endpoint is another container than its handle names.
        HandleDiffers = "handle_differs",
        /// Several endpoints have it.
        TwoEndpoints = "two_endpoints",
        /// An endpoint has it, and it may be given to somebody else.
        InUseNotAllocated = "in_use_not_allocated",
    }
}

label_values! {
    /// What is wrong with a tunnel (J13).
    pub enum TunnelReason {
        /// There is no such device.
        Missing = "missing",
        /// It is down, or has no carrier.
        Down = "down",
        /// It lacks the Node's tunnel address.
        AddressMissing = "address_missing",
        /// It has another address instead.
        AddressDiffers = "address_differs",
        /// It has an address beside the Node's.
        AddressUnexpected = "address_unexpected",
        /// Its MTU does not fit the interface beneath.
        MtuTooHigh = "mtu_too_high",
        /// Its VNI is not the cluster's.
        WrongVni = "wrong_vni",
        /// Its UDP port is not the cluster's.
        WrongPort = "wrong_port",
        /// It sends from an address that is not the Node's.
        WrongLocalAddress = "wrong_local_address",
        /// It sends through an interface that does not have the Node's address.
        WrongParent = "wrong_parent",
        /// Its MAC is not the Node's.
        WrongMac = "wrong_mac",
        /// No policy rule leads into it.
        RuleMissing = "rule_missing",
        /// IPAM does not know the tunnel address as the Node's.
        NotAllocated = "not_allocated",
        /// A pod owns the tunnel address.
        OwnedByPod = "owned_by_pod",
        /// Several Nodes or devices have one tunnel address.
        Duplicate = "duplicate",
        /// Several Nodes have one tunnel MAC.
        DuplicateMac = "duplicate_mac",
    }
}

/// What a fault of a tunnel is found by; each is judged by a part of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TunnelAspect {
    /// This host's device, of any kind.
    Device,
    /// This host's VXLAN device.
    VxlanDevice,
    /// This host's policy rules.
    Rule,
    /// Nodes' tunnel addresses in the cluster's IPAM.
    Address,
    /// Nodes' VXLAN MACs.
    VxlanAddress,
}

impl TunnelReason {
    fn aspect(self) -> TunnelAspect {
        match self {
            TunnelReason::Missing
            | TunnelReason::Down
            | TunnelReason::AddressMissing
            | TunnelReason::AddressDiffers
            | TunnelReason::AddressUnexpected
            | TunnelReason::MtuTooHigh => TunnelAspect::Device,
            TunnelReason::WrongVni
            | TunnelReason::WrongPort
            | TunnelReason::WrongLocalAddress
            | TunnelReason::WrongParent
            | TunnelReason::WrongMac => TunnelAspect::VxlanDevice,
            TunnelReason::RuleMissing => TunnelAspect::Rule,
            TunnelReason::NotAllocated | TunnelReason::OwnedByPod | TunnelReason::Duplicate => TunnelAspect::Address,
            TunnelReason::DuplicateMac => TunnelAspect::VxlanAddress,
        }
    }

    /// What the audit of this host's routes judges: the device.
    pub fn of_device(kind: TunnelKind) -> impl Iterator<Item = TunnelReason> {
        TunnelReason::ALL.into_iter().filter(move |reason| match reason.aspect() {
            TunnelAspect::Device => true,
            TunnelAspect::VxlanDevice => kind.is_vxlan(),
            TunnelAspect::Rule | TunnelAspect::Address | TunnelAspect::VxlanAddress => false,
        })
    }

    /// What the audit of the cluster's IPAM judges: tunnel addresses and MACs.
    pub fn of_address(kind: TunnelKind) -> impl Iterator<Item = TunnelReason> {
        TunnelReason::ALL.into_iter().filter(move |reason| match reason.aspect() {
            TunnelAspect::Address => true,
            TunnelAspect::VxlanAddress => kind.is_vxlan(),
            TunnelAspect::Device | TunnelAspect::VxlanDevice | TunnelAspect::Rule => false,
        })
    }

    /// What the audit of tunnels' tables judges: policy rules.
    pub fn of_rules() -> impl Iterator<Item = TunnelReason> {
        TunnelReason::ALL.into_iter().filter(|reason| reason.aspect() == TunnelAspect::Rule)
    }
}

label_values! {
    /// What is wrong with an entry of the tables beneath a VXLAN device.
    pub enum EntryReason {
        /// It ought to be there: nothing is, or the kernel asked and nobody answered.
        Missing = "missing",
        /// It leads elsewhere.
        Wrong = "wrong",
        /// It is there for good, and no Node asks for it.
        Stale = "stale",
        /// It is right, and the kernel may drop it.
        NotPermanent = "not_permanent",
    }
}

impl EntryReason {
    /// Whether nothing arrives because of it.
    pub fn loses_traffic(self) -> bool {
        matches!(self, EntryReason::Missing | EntryReason::Wrong)
    }
}

label_values! {
    /// What is wrong with a Node or its own addresses (J30, J34, J35).
    pub enum NodeReason {
        /// No interface of this host has the Node's address.
        AddressMissing = "address_missing",
        /// The Node's prefix length is not the interface's.
        PrefixDiffers = "prefix_differs",
        /// This host has no Node.
        NodeMissing = "node_missing",
        /// Two Nodes have one address.
        AddressDuplicate = "address_duplicate",
        /// The Node's address is a tunnel's.
        AddressOfTunnel = "address_of_tunnel",
        /// The Node's address lies in a block.
        AddressInBlock = "address_in_block",
        /// Two Nodes show one WireGuard key (J43).
        WireguardKeyDuplicate = "wireguard_key_duplicate",
        /// No route leads from this host to another Node's address, or one that drops (J44).
        NoWay = "no_way",
        /// The way from this host to another Node's address leads into a tunnel of Calico's or to a pod (J44).
        WayThroughTunnel = "way_through_tunnel",
    }
}

impl NodeReason {
    /// Whether the datastore alone shows it, so that the audit of the cluster's IPAM judges it; else it is this host's
    /// own.
    pub fn is_of_cluster(self) -> bool {
        match self {
            NodeReason::AddressMissing
            | NodeReason::PrefixDiffers
            | NodeReason::NodeMissing
            | NodeReason::NoWay
            | NodeReason::WayThroughTunnel => false,
            NodeReason::AddressDuplicate
            | NodeReason::AddressOfTunnel
            | NodeReason::AddressInBlock
            | NodeReason::WireguardKeyDuplicate => true,
        }
    }
}

label_values! {
    /// What is wrong with a route (J16–J19).
    pub enum RouteReason {
        /// Required and not there.
        Missing = "missing",
        /// Calico's and expected by nobody (J16).
        Stale = "stale",
        /// It drops where it ought to forward, or the reverse.
        WrongType = "wrong_type",
        /// Its gateway or device is another than it ought to be.
        WrongNextHop = "wrong_next_hop",
        /// Wrapped where it ought not to be, or otherwise, or not.
        WrongEncapsulation = "wrong_encapsulation",
        /// Several ways where one is right.
        Multipath = "multipath",
        /// Its device is down or has no carrier (J19).
        Linkdown = "linkdown",
        /// Not Calico's, and it takes traffic away from an owned block (J17).
        Foreign = "foreign",
        /// It is right, and another rule, table or program's route takes the packets (J41).
        Diverted = "diverted",
    }
}

impl RouteReason {
    /// Whether it can be wrong with a route of the class. A blackhole has no next hop, a workload's route is nothing
    /// while its link is down (J19), a tunnel address is never the class of a route by its form (J15), and a foreign
    /// route is a fault of the class of its form (J17).
    pub fn applies_to(self, class: RouteClass) -> bool {
        match class {
            RouteClass::RemoteBlock | RouteClass::Borrowed => true,
            RouteClass::LocalWorkload => self != RouteReason::Linkdown,
            RouteClass::LocalBlock => match self {
                RouteReason::Missing
                | RouteReason::Stale
                | RouteReason::WrongType
                | RouteReason::Foreign
                | RouteReason::Diverted => true,
                RouteReason::WrongNextHop
                | RouteReason::WrongEncapsulation
                | RouteReason::Multipath
                | RouteReason::Linkdown => false,
            },
            RouteClass::TunnelAddress => !matches!(self, RouteReason::Stale | RouteReason::Foreign),
            RouteClass::Foreign => false,
        }
    }

    /// What can be wrong with a route of the class.
    pub fn of_class(class: RouteClass) -> impl Iterator<Item = RouteReason> {
        RouteReason::ALL.into_iter().filter(move |reason| reason.applies_to(class))
    }
}

label_values! {
    /// What is wrong with who programs a class of pools (J27, J37).
    pub enum OwnerReason {
        /// Felix and BIRD both do.
        Both = "both",
        /// Nobody does.
        Neither = "neither",
        /// BIRD does, and has no session by which to learn them.
        NoSession = "no_session",
    }
}
