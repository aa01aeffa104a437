//! The alert that a fault's series fires, and how much it matters.

use super::{
    AffinityReason, BlockReason, EntryReason, Fault, HandleReason, LeakReason, MismatchReason, NodeReason, OwnerReason,
    RouteReason, TunnelReason,
};
use crate::audit::severity::Severity;
use crate::model::label_values;

label_values! {
    /// An alert of `alerts/calico.rules.yml` on a series of faults. A section of the runbook has its name.
    pub enum Alert {
        /// Values cannot be read.
        UndecodableKeys = "CalicoExporterUndecodableKeys",
        /// Addresses are in neither list of their block.
        AddressesLost = "CalicoAddressesLost",
        /// Addresses will be handed out again.
        AddressesHandedOutTwice = "CalicoAddressesHandedOutTwice",
        /// Blocks overlap.
        BlocksOverlap = "CalicoBlocksOverlap",
        /// Blocks lie in no pool.
        BlocksOutsidePools = "CalicoBlocksOutsidePools",
        /// Blocks are invalid otherwise.
        BlocksInvalid = "CalicoBlocksInvalid",
        /// A host has more blocks than the limit.
        HostOverBlockLimit = "CalicoHostOverBlockLimit",
        /// A host without Node claims blocks.
        AffinityOfUnknownHost = "CalicoAffinityOfUnknownHost",
        /// Claims or releases were not finished.
        AffinityStuck = "CalicoAffinityStuck",
        /// Blocks and keys contradict each other.
        AffinityContradictory = "CalicoAffinityContradictory",
        /// Handles outlived their allocations.
        HandlesLeaked = "CalicoHandlesLeaked",
        /// Handles do not count allocations.
        HandleFaults = "CalicoHandleFaults",
        /// Addresses are allocated and not in use.
        AddressesLeaked = "CalicoAddressesLeaked",
        /// Addresses are in use on another node than they were allocated to.
        AddressesOnAnotherNode = "CalicoAddressesOnAnotherNode",
        /// One address has several users, or may get another.
        AddressConflict = "CalicoAddressConflict",
        /// A tunnel device is missing or down.
        TunnelDeviceDown = "CalicoTunnelDeviceDown",
        /// A tunnel address belongs to somebody else as well.
        TunnelAddressConflict = "CalicoTunnelAddressConflict",
        /// IPAM does not know a tunnel address.
        TunnelAddressNotAllocated = "CalicoTunnelAddressNotAllocated",
        /// A tunnel's MTU does not fit.
        TunnelMtuTooHigh = "CalicoTunnelMtuTooHigh",
        /// Traffic that ought to be encrypted is not.
        TrafficUnencrypted = "CalicoTrafficUnencrypted",
        /// A tunnel device has a wrong attribute.
        TunnelDeviceWrong = "CalicoTunnelDeviceWrong",
        /// A tunnel device has a wrong address.
        TunnelAddressWrong = "CalicoTunnelAddressWrong",
        /// Entries of tunnels' tables are missing or wrong.
        TunnelEntriesMissing = "CalicoTunnelEntriesMissing",
        /// Entries of tunnels' tables are too many, or not for good.
        TunnelEntriesStale = "CalicoTunnelEntriesStale",
        /// This host has no Node.
        NodeMissing = "CalicoNodeMissing",
        /// A Node's address is somebody else's.
        NodeAddressConflict = "CalicoNodeAddressConflict",
        /// A Node's address is not its host's.
        NodeAddressFaults = "CalicoNodeAddressFaults",
        /// Nothing leads to a Node's address.
        NodeUnreachable = "CalicoNodeUnreachable",
        /// Nodes share a WireGuard key.
        WireguardKeyConflict = "CalicoWireguardKeyConflict",
        /// Routes are missing.
        RoutesMissing = "CalicoRoutesMissing",
        /// Routes are stale.
        RoutesStale = "CalicoRoutesStale",
        /// Routes lead elsewhere than they ought to.
        RoutesMisdirected = "CalicoRoutesMisdirected",
        /// Routes are right, and packets do not take them.
        TrafficDiverted = "CalicoTrafficDiverted",
        /// No BGP session carries the routes.
        RoutesCarriedByNobody = "CalicoRoutesCarriedByNobody",
        /// Felix and BIRD both program routes.
        RoutesOwnedByBoth = "CalicoRoutesOwnedByBoth",
        /// Neither Felix nor BIRD programs routes.
        RoutesOwnedByNobody = "CalicoRoutesOwnedByNobody",
    }
}

impl Alert {
    /// The alert's label `severity`.
    pub fn severity(self) -> Severity {
        match self {
            Alert::AddressesHandedOutTwice
            | Alert::BlocksOverlap
            | Alert::AddressConflict
            | Alert::TunnelDeviceDown
            | Alert::TunnelAddressConflict
            | Alert::TunnelDeviceWrong
            | Alert::TunnelEntriesMissing
            | Alert::TrafficUnencrypted
            | Alert::TrafficDiverted
            | Alert::NodeMissing
            | Alert::NodeAddressConflict
            | Alert::NodeUnreachable
            | Alert::WireguardKeyConflict
            | Alert::RoutesCarriedByNobody
            | Alert::RoutesOwnedByNobody => Severity::Critical,
            Alert::UndecodableKeys
            | Alert::AddressesLost
            | Alert::BlocksInvalid
            | Alert::AffinityOfUnknownHost
            | Alert::AffinityStuck
            | Alert::AffinityContradictory
            | Alert::HandleFaults
            | Alert::AddressesLeaked
            | Alert::AddressesOnAnotherNode
            | Alert::TunnelAddressNotAllocated
            | Alert::TunnelMtuTooHigh
            | Alert::TunnelAddressWrong
            | Alert::TunnelEntriesStale
            | Alert::NodeAddressFaults
            | Alert::RoutesMissing
            | Alert::RoutesStale
            | Alert::RoutesMisdirected
            | Alert::RoutesOwnedByBoth => Severity::Warning,
            Alert::BlocksOutsidePools | Alert::HostOverBlockLimit | Alert::HandlesLeaked => Severity::Info,
        }
    }
}

impl Fault {
    /// The alert that its series fires.
    pub fn alert(&self) -> Alert {
        match self {
            Fault::Undecodable(_) => Alert::UndecodableKeys,
            Fault::Mismatch(reason) => match reason {
                MismatchReason::Neither => Alert::AddressesLost,
                MismatchReason::AllocatedAndUnallocated | MismatchReason::Duplicate => Alert::AddressesHandedOutTwice,
            },
            Fault::Block(reason) => match reason {
                BlockReason::Overlap => Alert::BlocksOverlap,
                BlockReason::OutsideAnyPool => Alert::BlocksOutsidePools,
                BlockReason::BadAttributeIndex
                | BlockReason::UnreferencedAttribute
                | BlockReason::UnallocatedOutOfRange
                | BlockReason::WrongLength
                | BlockReason::WrongBlockSize
                | BlockReason::CidrDiffersFromKey
                | BlockReason::SequenceNumber => Alert::BlocksInvalid,
            },
            Fault::Affinity(reason) => match reason {
                AffinityReason::OverBlockLimit => Alert::HostOverBlockLimit,
                AffinityReason::UnknownHost => Alert::AffinityOfUnknownHost,
                AffinityReason::StuckPending | AffinityReason::StuckPendingDeletion => Alert::AffinityStuck,
                AffinityReason::WithoutBlock
                | AffinityReason::BlockWithoutAffinity
                | AffinityReason::BlockNotAffine
                | AffinityReason::TwoHosts
                | AffinityReason::EmptyWithoutAffinity => Alert::AffinityContradictory,
            },
            Fault::Handle(reason) => match reason {
                HandleReason::NoAllocation => Alert::HandlesLeaked,
                HandleReason::MissingHandle | HandleReason::UnderCount => Alert::HandleFaults,
            },
            Fault::Leak(_, reason) => match reason {
                LeakReason::OnUnknownHost | LeakReason::AllocatedNotInUse => Alert::AddressesLeaked,
                LeakReason::OnAnotherNode => Alert::AddressesOnAnotherNode,
                LeakReason::HandleDiffers | LeakReason::TwoEndpoints | LeakReason::InUseNotAllocated => {
                    Alert::AddressConflict
                }
            },
            Fault::Tunnel(_, reason) => match reason {
                TunnelReason::Missing | TunnelReason::Down => Alert::TunnelDeviceDown,
                TunnelReason::OwnedByPod | TunnelReason::Duplicate | TunnelReason::DuplicateMac => {
                    Alert::TunnelAddressConflict
                }
                TunnelReason::NotAllocated => Alert::TunnelAddressNotAllocated,
                TunnelReason::MtuTooHigh => Alert::TunnelMtuTooHigh,
                TunnelReason::RuleMissing => Alert::TrafficUnencrypted,
                TunnelReason::WrongVni
                | TunnelReason::WrongPort
                | TunnelReason::WrongLocalAddress
                | TunnelReason::WrongParent
                | TunnelReason::WrongMac => Alert::TunnelDeviceWrong,
                TunnelReason::AddressMissing | TunnelReason::AddressDiffers | TunnelReason::AddressUnexpected => {
                    Alert::TunnelAddressWrong
                }
            },
            Fault::Entry(_, _, reason) => match reason {
                EntryReason::Missing | EntryReason::Wrong => Alert::TunnelEntriesMissing,
                EntryReason::Stale | EntryReason::NotPermanent => Alert::TunnelEntriesStale,
            },
            Fault::Node(reason) => match reason {
                NodeReason::NodeMissing => Alert::NodeMissing,
                NodeReason::AddressDuplicate | NodeReason::AddressOfTunnel | NodeReason::AddressInBlock => {
                    Alert::NodeAddressConflict
                }
                NodeReason::AddressMissing | NodeReason::PrefixDiffers => Alert::NodeAddressFaults,
                NodeReason::NoWay | NodeReason::WayThroughTunnel => Alert::NodeUnreachable,
                NodeReason::WireguardKeyDuplicate => Alert::WireguardKeyConflict,
            },
            Fault::Route(_, reason) => match reason {
                RouteReason::Missing => Alert::RoutesMissing,
                RouteReason::Stale => Alert::RoutesStale,
                RouteReason::WrongType
                | RouteReason::WrongNextHop
                | RouteReason::WrongEncapsulation
                | RouteReason::Multipath
                | RouteReason::Linkdown
                | RouteReason::Foreign => Alert::RoutesMisdirected,
                RouteReason::Diverted => Alert::TrafficDiverted,
            },
            Fault::Owner(_, reason) => match reason {
                OwnerReason::NoSession => Alert::RoutesCarriedByNobody,
                OwnerReason::Both => Alert::RoutesOwnedByBoth,
                OwnerReason::Neither => Alert::RoutesOwnedByNobody,
            },
        }
    }

    /// How much it matters: as much as its alert.
    pub fn severity(&self) -> Severity {
        self.alert().severity()
    }
}
