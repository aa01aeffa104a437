//! What a chain comes to: one sentence, the likely cause, and where the runbook tells what to do.

use super::{Known, Link, LinkKind, LinkState, Subject};
use crate::audit::finding::Finding;

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The worst of all links.
    pub state: LinkState,
    /// The link that decides; `None` where all are ok.
    pub link: Option<LinkKind>,
    /// In a sentence.
    pub sentence: String,
    /// The likely cause and what to do; empty where nothing is wrong.
    pub cause: String,
    /// The finding by which the runbook is found.
    pub finding: Option<Finding>,
}

impl Verdict {
    /// About a text that names nothing.
    pub(super) fn of_nothing(why: String) -> Verdict {
        Verdict {
            state: LinkState::CannotTell,
            link: None,
            sentence: format!("{why}."),
            cause: String::new(),
            finding: None,
        }
    }
}

/// The first link at fault decides: what comes behind it follows from it. Else the first of which something is not known.
pub(super) fn of(known: &Known<'_>, subject: &Subject, links: &[Link]) -> Verdict {
    let first = |state: LinkState| links.iter().find(|link| link.state == state);
    if let Some(link) = first(LinkState::Fault) {
        let finding = link.findings.first().cloned();
        let others = links.iter().filter(|it| it.state == LinkState::Fault).count() - 1;
        let more = match others {
            0 => String::new(),
            1 => " One more link is at fault.".to_owned(),
            others => format!(" {others} more links are at fault."),
        };
        return Verdict {
            state: LinkState::Fault,
            link: Some(link.kind),
            sentence: format!("{subject}: the {} is at fault: {}.{more}", words(link.kind), ended(&link.detail)),
            cause: finding.as_ref().map_or_else(|| cause(link.kind).to_owned(), |finding| finding.action.clone()),
            finding,
        };
    }
    if let Some(link) = first(LinkState::CannotTell) {
        let unknown: Vec<&str> =
            links.iter().filter(|it| it.state == LinkState::CannotTell).map(|it| words(it.kind)).collect();
        let mut unknown_once = unknown.clone();
        unknown_once.dedup();
        return Verdict {
            state: LinkState::CannotTell,
            link: Some(link.kind),
            sentence: format!(
                "{subject}: nothing is known to be wrong, and of the {} it cannot be told: {}.",
                unknown_once.join(", "),
                ended(&link.detail)
            ),
            cause: String::new(),
            finding: None,
        };
    }
    let from = known.me().map_or(String::new(), |node| format!(" from {node}"));
    Verdict {
        state: LinkState::Ok,
        link: None,
        sentence: format!("{subject}: every link is as it ought to be{from}."),
        cause: String::new(),
        finding: None,
    }
}

fn ended(text: &str) -> &str {
    text.trim_end_matches('.')
}

/// A link in a sentence.
pub fn words(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::Pool => "pool",
        LinkKind::Block => "block",
        LinkKind::Address => "address",
        LinkKind::Endpoint => "endpoint",
        LinkKind::Host => "host",
        LinkKind::Underlay => "way to the Node",
        LinkKind::Path => "path",
        LinkKind::Neighbour => "neighbour entry",
        LinkKind::Fdb => "forwarding entry",
        LinkKind::Device => "device",
        LinkKind::WorkloadDevice => "pod's device",
    }
}

/// What a link without a finding is likely to be at fault by.
fn cause(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::Pool | LinkKind::Block => "Look at the value in the datastore: an edit by hand, or a newer Calico.",
        LinkKind::Address | LinkKind::Endpoint => {
            "See `calico-exporter check` for what IPAM and endpoints disagree about."
        }
        LinkKind::Host => {
            "The Node was deleted or never written: see calico-node on that host, or release what it left."
        }
        LinkKind::Underlay => "See `ip route get` for the Node's address on this host, and who installed that route.",
        LinkKind::Path => "See whether Felix and BIRD run on this host.",
        LinkKind::Neighbour | LinkKind::Fdb => "See Felix's log on this host.",
        LinkKind::Device => "See `ip link` on this host, and who took the device down.",
        LinkKind::WorkloadDevice => {
            "The pod is going or its network was torn down: see the pod, and `ip link` on this host."
        }
    }
}
