//! One change: what it was about, what it did, and who asked for it.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use crate::model::label_values;
use crate::model::{Name, Protocol};

label_values! {
    /// Where a change happened. The filter `kind` of the history.
    pub enum Area {
        /// A finding became a fault or ended.
        Fault = "fault",
        /// An object of Calico's was written or deleted.
        Datastore = "datastore",
        /// A route, device, neighbour, forwarding entry or policy rule changed.
        Kernel = "kernel",
        /// A source was lost, came back or was listed again.
        Source = "source",
    }
}

label_values! {
    /// What happened to the subject.
    pub enum Operation {
        /// It was not there before.
        Added = "added",
        /// It was there and is different now.
        Changed = "changed",
        /// It is not there any more.
        Deleted = "deleted",
        /// A finding outlived its grace period.
        Began = "began",
        /// A fault ended.
        Ended = "ended",
        /// A source stopped being current.
        Lost = "lost",
        /// A source is current again.
        Recovered = "recovered",
        /// A source was listed in full.
        Listed = "listed",
    }
}

/// A process as `/proc` names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// `/proc/PID/comm`.
    pub name: Name,
    /// It ended before it could be looked at twice.
    pub gone: bool,
}

/// Who asked for a change, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Author {
    /// Nothing says who.
    #[default]
    Unknown,
    /// The change was found by a fresh list; nobody heard it happen.
    List,
    /// A write to the datastore: etcd's revision or Kubernetes' resourceVersion.
    Revision(Name),
    /// The kernel itself: `nlmsg_pid` is 0.
    Kernel,
    /// A netlink socket: `nlmsg_pid` of the kernel's notification (`rtnl_notify`), and the process that owns it, where
    /// that is certain.
    Netlink(u32, Option<Process>),
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Author::Unknown => f.write_str("an unknown writer"),
            Author::List => f.write_str("an unknown writer, found by a fresh list"),
            Author::Revision(revision) => write!(f, "revision {revision}"),
            Author::Kernel => f.write_str("the kernel"),
            Author::Netlink(_, Some(Process { pid, name, gone: false })) => write!(f, "{name} ({pid})"),
            Author::Netlink(_, Some(Process { pid, name, gone: true })) => write!(f, "{name} ({pid}, gone)"),
            Author::Netlink(port, None) => write!(f, "netlink port {port}"),
        }
    }
}

/// One property of a subject, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Its name in Calico's API; empty where the subject is its only property, as with a route.
    pub name: Cow<'static, str>,
    /// What it was; `None` where it was not set.
    pub before: Option<Box<str>>,
    /// What it is; `None` where it is not set any more.
    pub after: Option<Box<str>>,
}

/// What an entry stands for beside its first change, where many alike came at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Burst {
    /// How many changes it stands for, the first included.
    pub count: u64,
    /// When the last of them came.
    pub until: Option<SystemTime>,
    /// Their destinations, as far as there is room.
    pub(super) places: Vec<IpNet>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1 since the start; a page links to it.
    pub id: u64,
    /// When it was seen.
    pub at: SystemTime,
    /// Where it happened.
    pub area: Area,
    /// What happened.
    pub operation: Operation,
    /// What kind of thing it happened to: `route`, `pool`, or a series' name with its labels.
    pub what: Cow<'static, str>,
    /// Which one: a CIDR, an address, a name. Addresses are written bare.
    pub subject: Box<str>,
    /// The addresses that it concerns.
    pub place: Option<IpNet>,
    /// The host that it concerns.
    pub host: Option<Name>,
    /// What is different.
    pub facts: Box<[Fact]>,
    /// Who asked for it.
    pub author: Author,
    /// The route's protocol, where it is about a route.
    pub protocol: Option<Protocol>,
    /// Since when it had stood: of a fault.
    pub since: Option<SystemTime>,
    /// What it stands for beside itself.
    pub burst: Option<Box<Burst>>,
}

impl Entry {
    /// Bytes that it takes in memory, its strings included; of strings that are constants, too: they are short.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let facts: usize = self
            .facts
            .iter()
            .map(|fact| size_of::<Fact>() + text(&fact.before) + text(&fact.after) + fact.name.len())
            .sum();
        let burst = self.burst.as_ref().map_or(0, |it| size_of::<Burst>() + it.places.capacity() * size_of::<IpNet>());
        size_of::<Entry>() + self.subject.len() + self.what.len() + facts + burst
    }

    /// How long a fault had stood when it ended, or when it became one.
    pub fn stood(&self) -> Option<Duration> {
        self.at.duration_since(self.since?).ok()
    }

    /// The change in a sentence without its time: what happened to what, and by whom.
    pub fn words(&self) -> String {
        match self.area {
            Area::Fault => self.fault_words(),
            Area::Source => {
                let why = self.facts.iter().filter_map(|fact| fact.after.as_deref()).collect::<Vec<_>>().join(", ");
                let colon = if why.is_empty() { "" } else { ": " };
                format!("{} {}{colon}{why}", self.subject, self.operation.as_str())
            }
            Area::Datastore | Area::Kernel => self.change_words(),
        }
    }

    fn fault_words(&self) -> String {
        if let Some(burst) = self.burst.as_deref() {
            let verb = if self.operation == Operation::Ended { "ended" } else { "became faults" };
            return format!("{} more of {} {verb}, from {} on", burst.count, self.what, self.subject);
        }
        let stood = self.stood().map(|it| Duration::from_secs(it.as_secs()));
        let stood = stood.map(|it| humantime::format_duration(it).to_string());
        let host = self.host.as_ref().map(|host| format!(" ({host})")).unwrap_or_default();
        let rest = match (self.operation, stood) {
            (Operation::Ended, Some(stood)) => format!("ended after {stood}"),
            (Operation::Ended, None) => "ended".to_owned(),
            (_, Some(stood)) => format!("became a fault after {stood}"),
            (_, None) => "became a fault".to_owned(),
        };
        format!("{} {}{host} {rest}", self.what, self.subject)
    }

    fn change_words(&self) -> String {
        let by = match (&self.author, self.protocol) {
            (Author::Unknown, None) => String::new(),
            (Author::Unknown, Some(protocol)) => format!(", protocol {protocol}"),
            (Author::Netlink(_, None), Some(protocol)) => format!(" by {}, protocol {protocol}", self.author),
            (Author::Revision(_), _) => format!(" at {}", self.author),
            (author, _) => format!(" by {author}"),
        };
        if let Some(burst) = self.burst.as_deref() {
            let took = burst.until.and_then(|until| until.duration_since(self.at).ok()).unwrap_or_default();
            let (count, seconds) = (burst.count, took.as_secs_f64().max(0.1));
            let (what, operation, first) = (&self.what, self.operation.as_str(), &self.subject);
            return format!("{count} more {what}s {operation}{by} within {seconds:.1} s, from {first} on");
        }
        // A route and a rule are written out whole: their subject is in their text.
        let whole = matches!(&*self.what, super::record::ROUTE | super::record::RULE);
        match (whole, self.operation) {
            (true, operation) => format!("{} {}{by}: {}", self.what, operation.as_str(), facts(&self.facts)),
            (false, operation) if self.facts.is_empty() => {
                format!("{} {} {}{by}", self.what, self.subject, operation.as_str())
            }
            (false, operation) => {
                format!("{} {} {}{by}: {}", self.what, self.subject, operation.as_str(), facts(&self.facts))
            }
        }
    }
}

/// `ipipMode Always → CrossSubnet, disabled true`.
fn facts(facts: &[Fact]) -> String {
    let of = |fact: &Fact| {
        let space = if fact.name.is_empty() { "" } else { " " };
        let value = match (&fact.before, &fact.after) {
            (Some(before), Some(after)) => format!("{before} → {after}"),
            (Some(before), None) => before.to_string(),
            (None, Some(after)) => after.to_string(),
            (None, None) => String::new(),
        };
        format!("{}{space}{value}", fact.name)
    };
    facts.iter().map(of).collect::<Vec<_>>().join(", ")
}
