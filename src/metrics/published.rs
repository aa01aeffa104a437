//! What the engine publishes: the last report, and how current each source is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::audit::{CannotTell, Report};
use crate::model::Name;
use crate::state::{Kind, Side};

/// How current one source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// `etcd`, `kubernetes`, `netlink`, `netlink_tunnels` or `file`.
    pub name: &'static str,
    /// Which side it describes.
    pub side: Side,
    /// Whether a collector reads it.
    pub enabled: bool,
    /// Whether its picture is current.
    pub in_sync: bool,
    /// Whether it ever was.
    pub synced_once: bool,
    /// Why it is not current any more.
    pub why_lost: Option<String>,
    /// What it may not read.
    pub denied: Vec<Name>,
    /// Since when it is not, as far as it ever was.
    pub lost_since: Option<SystemTime>,
    /// When its picture was last complete.
    pub last_sync: Option<SystemTime>,
    /// How many times it had to read everything anew, the first time not counted.
    pub resyncs: u64,
}

impl SourceStatus {
    /// A source of which nothing has been seen yet.
    pub fn waiting(name: &'static str, side: Side) -> SourceStatus {
        SourceStatus {
            name,
            side,
            enabled: true,
            in_sync: false,
            synced_once: false,
            why_lost: None,
            denied: Vec::new(),
            lost_since: None,
            last_sync: None,
            resyncs: 0,
        }
    }
}

/// Which sides' pictures are current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InSync {
    /// Calico's objects.
    pub datastore: bool,
    /// Devices and routes, and what is beneath them where that is read.
    pub kernel: bool,
}

/// Everything that a reader may see, as of one moment. Cheap to clone: the report is shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// This host's name.
    pub node: Name,
    /// The last report. The same `Arc` as long as nothing in it changed, so that it is encoded once.
    pub report: Arc<Report>,
    /// When it was made; `None` before the first.
    pub report_time: Option<SystemTime>,
    /// How long making it took.
    pub audit_seconds: f64,
    /// Every source, also those that no collector reads.
    pub sources: Vec<SourceStatus>,
    /// Changes of objects by kind since the first list.
    pub changes: BTreeMap<Kind, u64>,
    /// Why nothing can be judged, though the datastore was read: readiness waits for its end.
    pub cannot_tell: Option<CannotTell>,
}

impl Published {
    /// Before anything was seen.
    pub fn starting(node: Name, sources: Vec<SourceStatus>) -> Published {
        Published {
            node,
            report: Arc::default(),
            report_time: None,
            audit_seconds: 0.0,
            sources,
            cannot_tell: None,
            changes: BTreeMap::new(),
        }
    }

    /// The sources that a collector reads.
    pub fn enabled(&self) -> impl Iterator<Item = &SourceStatus> {
        self.sources.iter().filter(|source| source.enabled)
    }

    /// The enabled sources that have never been in sync: readiness waits for them.
    pub fn waiting_for(&self) -> impl Iterator<Item = &SourceStatus> {
        self.enabled().filter(|source| !source.synced_once)
    }

    /// Which sides are current; a side that nobody reads is not.
    pub fn in_sync(&self) -> InSync {
        let sides = |sides: &[Side]| {
            let mut sources = self.enabled().filter(|source| sides.contains(&source.side)).peekable();
            sources.peek().is_some() && sources.all(|source| source.in_sync)
        };
        InSync { datastore: sides(&[Side::Datastore]), kernel: sides(&[Side::Kernel, Side::Tunnels]) }
    }
}
