//! Why an address can be reached from here, or why not: a chain of links from the pool to the device, each ok, at fault,
//! or not to be told. The chain has no rules of its own: what is expected and what is wrong with it is the audit's
//! expectation and the audit's judgement, asked about one address, without waiting for a grace period.

use std::net::IpAddr;

use ipnet::IpNet;

use super::expect::Context;
use super::finding::Finding;
use super::place::Place;
use super::routes::RouteAudit;
use super::tunnel_entries::TunnelAudit;
use crate::model::label_values;
use crate::model::{AllocationBlock, Attribute, Name, host_net};
use crate::state::{Side, State};

mod chain;
mod ipam;
mod path;
mod resolve;
mod subject;
mod verdict;

use resolve::Named;
pub use subject::{Subject, SubjectError};
pub use verdict::{Verdict, words};

label_values! {
    /// What a link is about, in the order of the chain.
    pub enum LinkKind {
        /// The pool and its mode.
        Pool = "pool",
        /// The block, its owner, its fill.
        Block = "block",
        /// The address in its block.
        Address = "address",
        /// The endpoint that uses it.
        Endpoint = "endpoint",
        /// The host that it is on.
        Host = "host",
        /// The way from this host to the address of the Node that it is on.
        Underlay = "underlay",
        /// The route from this host.
        Path = "path",
        /// The tunnel's neighbour entry.
        Neighbour = "neighbour",
        /// The tunnel's forwarding entry.
        Fdb = "fdb",
        /// The device that the route leaves through.
        Device = "device",
        /// A local pod's device.
        WorkloadDevice = "workload_device",
    }
}

label_values! {
    /// How a link stands.
    pub enum LinkState {
        /// What is there is what is wanted.
        Ok = "ok",
        /// It is not known here, or nothing is wanted.
        CannotTell = "cannot_tell",
        /// It is not.
        Fault = "fault",
    }
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is about.
    pub kind: LinkKind,
    /// The address, CIDR, host or device that it is about.
    pub subject: String,
    /// How it stands.
    pub state: LinkState,
    /// What ought to be, and why.
    pub wanted: String,
    /// What is.
    pub actual: String,
    /// What is wrong, or why it cannot be told; empty where it is ok.
    pub detail: String,
    /// The audit's findings that it is at fault by; one that a grace period still holds back is among them. No more than
    /// [`Link::MOST`].
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: usize,
}

impl Link {
    /// Findings of one link that are named: anybody may ask, and anybody may have written thousands of keys.
    pub const MOST: usize = 32;

    fn new(kind: LinkKind, subject: impl ToString) -> Link {
        Link {
            kind,
            subject: subject.to_string(),
            state: LinkState::Ok,
            wanted: String::new(),
            actual: String::new(),
            detail: String::new(),
            findings: Vec::new(),
            more_findings: 0,
        }
    }

    fn wanted(mut self, wanted: impl Into<String>) -> Link {
        self.wanted = wanted.into();
        self
    }

    fn actual(mut self, actual: impl Into<String>) -> Link {
        self.actual = actual.into();
        self
    }

    fn cannot_tell(mut self, why: impl Into<String>) -> Link {
        if self.state == LinkState::Ok {
            self.state = LinkState::CannotTell;
            self.detail = why.into();
        }
        self
    }

    fn fault(mut self, what: impl Into<String>) -> Link {
        if self.state != LinkState::Fault {
            self.state = LinkState::Fault;
            self.detail = what.into();
        }
        self
    }

    /// At fault by each of these, if there are any.
    fn by(mut self, findings: impl IntoIterator<Item = Finding>) -> Link {
        for finding in findings {
            self = self.fault(finding.detail.clone());
            match self.findings.contains(&finding) {
                true => {}
                false if self.findings.len() < Self::MOST => self.findings.push(finding),
                false => self.more_findings += 1,
            }
        }
        self
    }
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What was asked.
    pub subject: String,
    /// The host from which the path is looked at; `None` where no host's routes are judged.
    pub node: Option<Name>,
    /// Whether the datastore's picture is current.
    pub datastore_in_sync: bool,
    /// Whether the kernel's picture is current.
    pub kernel_in_sync: bool,
    /// The chain. For a host or a wide CIDR, the chains of what belongs to it.
    pub links: Vec<Link>,
    /// Links that were left out, where there are too many.
    pub left_out: usize,
    /// What it comes to.
    pub verdict: Verdict,
}

impl Explanation {
    /// Whether what was asked about is no host, pod or address here, or not one alone.
    pub fn names_nothing(&self) -> bool {
        self.links.is_empty()
    }
}

/// What an explanation is made from.
pub(super) struct Known<'a> {
    pub(super) state: &'a State,
    /// What the audits found, for leaks, handles and tunnel addresses.
    pub(super) findings: &'a [Finding],
    /// This host's routes, where they are judged.
    pub(super) routes: Option<&'a RouteAudit>,
    /// What is beneath them, where it is judged.
    pub(super) beneath: Option<&'a TunnelAudit>,
}

impl<'a> Known<'a> {
    fn context(&self) -> Option<Context<'a>> {
        self.routes?.context(self.state)
    }

    fn me(&self) -> Option<&'a Name> {
        self.routes.map(|routes| &routes.options.node)
    }

    /// Findings of the audits about a subject.
    fn about<'s>(&'s self, subject: &'s str) -> impl Iterator<Item = &'a Finding> + 's {
        self.findings.iter().filter(move |finding| finding.subject == subject)
    }

    fn block_of(&self, address: IpAddr) -> Option<&'a AllocationBlock> {
        self.state.datastore.block_around(&host_net(address))
    }

    /// The allocation of an address: its block, ordinal and attribute.
    fn allocation(&self, address: IpAddr) -> Option<(&'a AllocationBlock, u32, Option<&'a Attribute>)> {
        self.state.datastore.blocks_around(&host_net(address)).find_map(|block| {
            let ordinal = u32::try_from(crate::model::ordinal_of(&block.cidr, address)?).ok()?;
            Some((block, ordinal, block.allocation(ordinal)?))
        })
    }
}

/// Explains a subject.
pub(super) fn explain(known: &Known<'_>, subject: &Subject) -> Explanation {
    let (subject, links, left_out, verdict) = match resolve::resolve(known, subject) {
        Named::One(subject) => {
            let (mut links, left_out) = chain::of(known, &subject);
            // A report's findings were written for this place already, those that are made at once were not.
            let place = Place::of(&known.state.datastore);
            links.iter_mut().flat_map(|link| &mut link.findings).for_each(|it| place.localize(it, known.me()));
            let verdict = verdict::of(known, &subject, &links);
            (subject.to_string(), links, left_out, verdict)
        }
        Named::None(why) => (subject.to_string(), Vec::new(), 0, Verdict::of_nothing(why)),
    };
    Explanation {
        subject,
        node: known.me().cloned(),
        datastore_in_sync: known.state.in_sync(Side::Datastore),
        kernel_in_sync: known.state.in_sync(Side::Kernel),
        links,
        left_out,
        verdict,
    }
}

/// Words in a row, the first few of them.
fn listed(words: &[String], between: &str) -> String {
    const MOST: usize = 8;
    match words.len().checked_sub(MOST) {
        None | Some(0) => words.join(between),
        Some(more) => format!("{}{between}… and {more} more", words[..MOST].join(between)),
    }
}

/// The part of `nets` that a reader of a page can take in, and how many are left out.
fn some(nets: Vec<IpNet>) -> (Vec<IpNet>, usize) {
    const MOST: usize = 32;
    let left_out = nets.len().saturating_sub(MOST);
    (nets.into_iter().take(MOST).collect(), left_out)
}
