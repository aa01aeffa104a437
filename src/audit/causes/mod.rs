//! Causes: what several findings have in common, said once (J45).
//!
//! A finding belongs to at most one cause. Rules run in J45's order and each takes what no earlier rule took, so the
//! host that lost its Node comes before its tunnel, and the tunnel before the routes through it. What no rule takes
//! stays a finding of its own.

use std::time::SystemTime;

use crate::audit::fault::Part;
use crate::model::Name;
use crate::model::label_values;
use crate::state::State;

use super::finding::Finding;
use super::severity::Severity;
use board::Board;

mod board;
mod deleted;
mod ipam;
mod node;
mod programmer;
mod reach;
mod rollout;
mod tunnel;

pub(super) use programmer::{Required, RouteFacts};

/// From how many findings on a pattern is a cause rather than a coincidence. BIRD, Felix and kube-controllers fail for
/// every host at once; single routes and handles are lost one or two at a time.
const PATTERN: usize = 3;

label_values! {
    /// What is behind findings.
    pub enum CauseKind {
        /// This host has no Node (J35).
        NodeMissing = "node_missing",
        /// A tunnel device of this host is missing or down.
        TunnelDevice = "tunnel_device",
        /// Another program deletes Calico's routes.
        RoutesDeleted = "routes_deleted",
        /// BIRD or Felix has programmed none of its routes here.
        ProgrammerSilent = "programmer_silent",
        /// Affinity keys stand and no block does.
        IpamDataLost = "ipam_data_lost",
        /// Another host has no Node, and its data is still there.
        NodeGone = "node_gone",
        /// Blocks lie in no pool, or have another size than their pool's.
        PoolChanged = "pool_changed",
        /// Routes of a pool have the encapsulation of its former mode.
        ModeNotRolledOut = "mode_not_rolled_out",
        /// No right route leads to another host.
        HostUnreachable = "host_unreachable",
        /// IPAM handles outlived their allocations.
        HandlesLeftOver = "handles_left_over",
    }
}

impl CauseKind {
    /// The alert that is about it, and the section of the runbook.
    pub fn alert(self) -> &'static str {
        match self {
            CauseKind::NodeMissing => "CalicoNodeMissing",
            CauseKind::TunnelDevice => "CalicoTunnelDeviceDown",
            CauseKind::RoutesDeleted => "CalicoRoutesMissing",
            CauseKind::ProgrammerSilent => "CalicoProgrammerSilent",
            CauseKind::IpamDataLost => "CalicoAddressConflict",
            CauseKind::NodeGone => "CalicoAffinityOfUnknownHost",
            CauseKind::PoolChanged => "CalicoBlocksInvalid",
            CauseKind::ModeNotRolledOut => "CalicoTunnelModeDrift",
            CauseKind::HostUnreachable => "CalicoHostUnreachable",
            CauseKind::HandlesLeftOver => "CalicoHandlesLeaked",
        }
    }

    /// How much it matters at least, where that is more than its findings do by themselves.
    fn severity(self) -> Severity {
        match self {
            CauseKind::TunnelDevice | CauseKind::ProgrammerSilent | CauseKind::IpamDataLost => Severity::Critical,
            CauseKind::NodeMissing
            | CauseKind::RoutesDeleted
            | CauseKind::NodeGone
            | CauseKind::PoolChanged
            | CauseKind::ModeNotRolledOut
            | CauseKind::HostUnreachable => Severity::Warning,
            CauseKind::HandlesLeftOver => Severity::Info,
        }
    }

    /// The part of the audit without which it cannot be seen.
    pub fn part(self) -> Part {
        match self {
            CauseKind::NodeMissing
            | CauseKind::TunnelDevice
            | CauseKind::RoutesDeleted
            | CauseKind::ProgrammerSilent
            | CauseKind::ModeNotRolledOut
            | CauseKind::HostUnreachable => Part::Routes,
            CauseKind::IpamDataLost | CauseKind::NodeGone | CauseKind::PoolChanged => Part::Ipam,
            CauseKind::HandlesLeftOver => Part::Leaks,
        }
    }
}

/// Something that explains findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What kind of thing.
    pub kind: CauseKind,
    /// The highest of its findings', or its own (J45).
    pub severity: Severity,
    /// The host, pool, device or programmer.
    pub subject: String,
    /// Since when the first of its findings stands, as far as this process saw.
    pub since: Option<SystemTime>,
    /// Its findings: positions in the list it was worked out from, ascending, at least one.
    pub findings: Vec<usize>,
    /// What happened, in a sentence.
    pub detail: String,
    /// What shows it.
    pub evidence: Vec<String>,
    /// What to do next.
    pub action: String,
}

impl Cause {
    /// What tells it from every other cause of a report.
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.subject)
    }
}

/// What rules look things up in.
pub(super) struct Evidence<'a> {
    /// The datastore and the kernel.
    pub state: &'a State,
    /// Whose routes are judged.
    pub node: Option<&'a Name>,
    /// What is known of this host's routes, where they are judged.
    pub routes: Option<RouteFacts<'a>>,
}

/// The causes of these findings, in J45's order; within a kind by subject.
pub(super) fn find(findings: &[Finding], evidence: &Evidence<'_>) -> Vec<Cause> {
    if findings.is_empty() {
        return Vec::new();
    }
    let mut board = Board::of(findings);
    node::missing(&mut board, evidence);
    tunnel::device(&mut board, evidence);
    deleted::by_stranger(&mut board, evidence);
    programmer::silent(&mut board, evidence);
    ipam::lost(&mut board, evidence);
    node::gone(&mut board, evidence);
    ipam::pools(&mut board, evidence);
    rollout::former_mode(&mut board, evidence);
    reach::unreachable(&mut board, evidence);
    ipam::handles(&mut board);
    board.into_causes()
}

/// `1 route`, `2 routes`.
fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}
