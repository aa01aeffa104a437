//! Handles against the allocations that name them (J9; invariant I8).
//!
//! A handle has one finding at most. Where J9 leaves room, this was decided:
//!
//! - `no_allocation`: no readable block has an allocation with this handle, whether the object lists the block or not,
//!   and no block that the object lists may hide one (it is dark, or has a bad attribute index). An object that lists
//!   no block at all is one of these: Calico deletes it with its last address.
//! - `under_count`: in some block the object counts fewer addresses than there are, or does not list it. So an object
//!   that lists only the wrong block has this finding and not the other.
//! - Too high a count, or a block listed in which there is nothing while there is in another, is normal.
//! - `windows-reserved-ipam-handle` in any case has neither object nor finding; nor has an object that cannot be read.
//! - Blocks that cannot be read name no handles, and nothing is compared within their CIDRs.

use std::collections::{BTreeSet, HashMap, HashSet};

use ipnet::IpNet;

use super::fault::{Fault, HandleReason};
use super::leaks::owner;
use super::{Candidate, Finding};
use crate::model::{AllocationBlock, Attribute, Handle, HandleDigest, Name};
use crate::state::{Datastore, ObjectId};

const WINDOWS_RESERVED: &str = "windows-reserved-ipam-handle";

/// The handle faults of a datastore that lists its handles (J9), sorted; they are judged at once (J6). Where handles
/// are not listed there is nothing to judge by: see [`super::sweep::Sweep`].
pub fn judge(datastore: &Datastore) -> Vec<Finding> {
    if !datastore.knows_endpoints() {
        return Vec::new();
    }
    let mut objects = Objects::default();
    for id in datastore.unreadable().keys() {
        if let ObjectId::Handle(id) = id {
            objects.add_unreadable(id);
        }
    }
    for handle in datastore.handles().values() {
        objects.add(datastore, handle);
    }
    objects.finish(datastore).into_iter().map(|candidate| candidate.finding).collect()
}

/// Handle objects, gathered one by one in little memory: of one that is as it should be, two numbers a block are kept,
/// its id as a hash. With a million of them, that two ids share one is a chance of one in forty million.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    /// Handle, number of the block, and how many addresses the object says it holds there.
    counts: Vec<(u64, u32, i32)>,
    blocks: HashMap<IpNet, u32>,
    /// Objects without a block: they exist.
    bare: HashSet<u64>,
    unreadable: HashSet<u64>,
    /// Objects in whose blocks no allocation was found.
    idle: BTreeSet<(Name, Vec<IpNet>)>,
}

impl Objects {
    /// Takes in a handle object. It is compared with the blocks as they are now, and again in the end.
    pub(crate) fn add(&mut self, datastore: &Datastore, handle: &Handle) {
        if is_windows(&handle.id) {
            return;
        }
        let id = hash(&handle.id);
        let mut busy = false;
        for (cidr, count) in &handle.blocks {
            let next = self.blocks.len() as u32;
            let block = *self.blocks.entry(*cidr).or_insert(next);
            // More than a block can hold is as good as any such number.
            self.counts.push((id, block, (*count).clamp(i32::MIN.into(), i32::MAX.into()) as i32));
            busy = busy || may_hold(datastore, cidr, &handle.id);
        }
        if handle.blocks.is_empty() {
            self.bare.insert(id);
        }
        if !busy {
            self.idle.insert((handle.id.clone(), handle.blocks.iter().map(|(cidr, _)| *cidr).collect()));
        }
    }

    /// Takes in a handle object that exists and cannot be read (J1).
    pub(crate) fn add_unreadable(&mut self, id: &str) {
        self.unreadable.insert(hash(id));
    }

    /// Compares what was gathered with the blocks; sorted.
    pub(crate) fn finish(&mut self, datastore: &Datastore) -> Vec<Candidate> {
        self.counts.sort_unstable();
        let idle: HashSet<u64> = self.idle.iter().map(|(id, _)| hash(id)).collect();
        let mut awake = HashSet::new();
        let mut faults: HashMap<u64, Candidate> = HashMap::new();
        for block in datastore.blocks() {
            let dark = datastore.is_dark(&block.cidr);
            for held in held_by_handle(block) {
                let id = held.number;
                if idle.contains(&id) {
                    awake.insert(id);
                }
                if !dark
                    && !faults.contains_key(&id)
                    && let Some(fault) = self.fault(held, id)
                {
                    faults.insert(id, fault);
                }
            }
        }
        let gone = self
            .idle
            .iter()
            .filter(|(id, cidrs)| {
                let number = hash(id);
                !awake.contains(&number)
                    && !self.unreadable.contains(&number)
                    && !cidrs.iter().any(|cidr| may_hold(datastore, cidr, id))
            })
            .map(|(id, cidrs)| no_allocation(id, cidrs));
        let mut found: Vec<Candidate> = faults.into_values().chain(gone).collect();
        found.sort_unstable_by(|a, b| a.finding.cmp(&b.finding));
        found
    }

    /// What is wrong with a handle, seen from a block that holds something of it.
    fn fault(&self, held: Held<'_>, id: u64) -> Option<Candidate> {
        if held.handle.is_some_and(|handle| is_windows(handle)) || self.unreadable.contains(&id) {
            return None;
        }
        let from = self.counts.partition_point(|(other, ..)| *other < id);
        let mut counts = self.counts[from..].iter().take_while(|(other, ..)| *other == id).peekable();
        if counts.peek().is_none() && !self.bare.contains(&id) {
            return Some(held.missing_handle());
        }
        let number = self.blocks.get(held.block);
        let said = counts.filter(|(_, block, _)| Some(block) == number).map(|(_, _, count)| i64::from(*count)).max();
        (said.unwrap_or(0) < held.count).then(|| held.under_count(said))
    }
}

fn is_windows(handle: &str) -> bool {
    handle.eq_ignore_ascii_case(WINDOWS_RESERVED)
}

fn hash(id: &str) -> u64 {
    HandleDigest::number_of(id)
}

/// Whether a block that an object lists holds an address of the handle, as far as can be read: a dark block or one
/// with a bad attribute index may hide it (J1, J9).
fn may_hold(datastore: &Datastore, cidr: &IpNet, handle: &Name) -> bool {
    if datastore.is_dark(cidr) {
        return true;
    }
    datastore.block(cidr).is_some_and(|block| {
        let number = block.is_digested().then(|| hash(handle));
        block.allocations().any(|(ordinal, attribute)| match attribute {
            None => true,
            Some(it) if it.abridged => number.is_some() && block.handle_number(ordinal, it) == number,
            Some(it) => it.handle.as_ref() == Some(handle),
        })
    })
}

/// What a block holds of a handle.
#[derive(Debug, Clone, Copy)]
struct Held<'a> {
    block: &'a IpNet,
    /// The handle's number, and its id unless that was left out.
    number: u64,
    handle: Option<&'a Name>,
    /// The first of its ordinals, and what is written about it.
    ordinal: u32,
    attribute: &'a Attribute,
    /// How many ordinals it has.
    count: i64,
}

/// What the block holds of each handle.
fn held_by_handle(block: &AllocationBlock) -> Vec<Held<'_>> {
    let mut held: Vec<Held<'_>> = block
        .allocations()
        .filter_map(|(ordinal, attribute)| {
            let attribute = attribute?;
            let number = block.handle_number(ordinal, attribute)?;
            Some(Held { block: &block.cidr, number, handle: attribute.handle.as_ref(), ordinal, attribute, count: 1 })
        })
        .collect();
    // Stable: the first of a handle stays the one with the lowest ordinal.
    held.sort_by_key(|it| it.number);
    held.dedup_by(|later, first| {
        let same = later.number == first.number;
        if same {
            first.count += later.count;
        }
        same
    });
    held
}

fn no_allocation(handle: &Name, cidrs: &[IpNet]) -> Candidate {
    let blocks = cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let listed = if blocks.is_empty() { "no block".to_owned() } else { format!("block {blocks}") };
    let finding = Finding::new(Fault::Handle(HandleReason::NoAllocation), handle)
        .detail(format!("The handle lists {listed}, and no block has an allocation with this handle."))
        .expected("an allocation with this handle, or no such handle", "a handle without allocation")
        // `--from-report` would do it, and would release living IPv6 tunnel addresses as well.
        .action(
            "It takes space and no more. `calicoctl ipam check -o report.json` lists it under leakedHandles as well. \
             Delete the handle object itself, and not by `ipam release --from-report`, \
             which takes IPv6 tunnel addresses in use for leaks.",
        );
    Candidate { finding, identity: 0, block: None }
}

impl Held<'_> {
    fn fault(self, reason: HandleReason, says: &str, expected: String, actual: String) -> Candidate {
        let Held { block, handle, ordinal, attribute, count, .. } = self;
        let handle = handle.map_or("", |handle| handle);
        let addresses = match count {
            1 => "an address".to_owned(),
            count => format!("{count} addresses"),
        };
        let gone = match attribute.has_pod() {
            true => "Delete the pod",
            false => "See to it when its owner is gone",
        };
        let release = crate::model::address_at(block, u64::from(ordinal))
            .map(|address| format!(": calicoctl ipam release --ip={address}"));
        let finding = Finding::new(Fault::Handle(reason), handle)
            .host(attribute.node.clone())
            .detail(format!(
                "Block {block} has {addresses} allocated{} with this handle, and {says}: \
                 what it does not count is not released with its owner.",
                owner(attribute)
            ))
            .expected(expected, actual)
            .action(format!(
                "{gone}. What is still allocated then is to be given back{}.",
                release.unwrap_or_default()
            ));
        Candidate { finding, identity: 0, block: Some(*block) }
    }

    fn missing_handle(self) -> Candidate {
        let expected = "a handle that counts the address".to_owned();
        self.fault(HandleReason::MissingHandle, "there is no such handle", expected, "no such handle".to_owned())
    }

    fn under_count(self, said: Option<i64>) -> Candidate {
        let says = said.map_or_else(|| "does not list the block".to_owned(), |count| format!("counts {count}"));
        let expected = format!("{} or more in block {}", self.count, self.block);
        self.fault(HandleReason::UnderCount, &format!("the handle {says}"), expected, says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample::{self, Cluster, attribute, load_balancer, machine, net, pod, tunnel};
    use crate::model::{AttributeKind, TunnelKind};

    fn web_handle() -> Name {
        sample::handle("web").into()
    }

    /// A pod with addresses of both families and two in one block, and one of everything else that has a handle.
    fn healthy() -> Cluster {
        let mut cluster = Cluster::two_hosts();
        for address in ["10.0.0.1", "10.0.0.2", "fd00::1"] {
            cluster.allocate(address, pod("h1", "web"));
        }
        cluster.allocate("10.0.0.3", tunnel("h1", TunnelKind::Ipip));
        cluster.allocate("10.0.0.4", machine("h1", "db", None));
        cluster.allocate("10.0.0.5", load_balancer());
        cluster.allocate("10.0.0.6", attribute(AttributeKind::WindowsReserved, Some("WINDOWS-reserved-ipam-handle")));
        cluster.allocate("10.0.0.7", attribute(AttributeKind::Workload, None));
        cluster.allocate("10.0.0.8", attribute(AttributeKind::Cooldown, None));
        cluster
    }

    fn found(change: impl FnOnce(&mut Cluster)) -> Vec<String> {
        sample::found(healthy(), change, judge, |it| {
            format!("{} {} {}", it.fault.reason().unwrap(), it.subject, it.host.as_deref().unwrap_or("-"))
        })
    }

    #[track_caller]
    fn clean(change: impl FnOnce(&mut Cluster)) {
        assert_eq!(found(change), [""; 0]);
    }

    fn web(cluster: &mut Cluster) -> &mut std::collections::BTreeMap<IpNet, i64> {
        cluster.handles.get_mut(&web_handle()).unwrap()
    }

    #[test]
    fn handles_that_count_their_addresses_are_sound() {
        clean(|_| {});
        assert_eq!(judge(&healthy().watched()), []);
        // Too many are normal, in a block that has none and in one that is gone as well.
        clean(|it| {
            web(it).insert(net("10.0.0.0/26"), 7);
            web(it).insert(net("10.0.0.64/26"), 1);
            web(it).insert(net("10.9.0.0/26"), 1);
        });
    }

    #[test]
    fn a_handle_without_allocation() {
        let idle = |block: &'static str| {
            move |it: &mut Cluster| {
                it.handles.insert("old".into(), [(net(block), 1)].into());
            }
        };
        assert_eq!(found(idle("10.0.0.0/26")), ["no_allocation old -"]);
        assert_eq!(found(idle("10.9.0.0/26")), ["no_allocation old -"]);
        assert_eq!(
            found(|it| {
                it.handles.insert("old".into(), [].into());
            }),
            ["no_allocation old -"]
        );
        // A block that cannot be read may hold it, and so may one with an index that points nowhere (J9).
        clean(|it| {
            idle("10.0.0.64/26")(it);
            it.blocks.remove(&net("10.0.0.64/26"));
            it.unreadable.push(ObjectId::Block(net("10.0.0.64/26")));
        });
        clean(|it| {
            idle("10.0.0.64/26")(it);
            it.allocate("10.0.0.65", attribute(AttributeKind::Workload, None));
            *it.held("10.0.0.65") = None;
        });
        clean(|it| *it.held("10.0.0.3") = None);
        // Another block's bad index hides nothing of this one.
        let elsewhere = |it: &mut Cluster| {
            idle("10.0.0.0/26")(it);
            it.allocate("10.0.0.65", attribute(AttributeKind::Workload, None));
            *it.held("10.0.0.65") = None;
        };
        assert_eq!(found(elsewhere), ["no_allocation old -"]);
        clean(|it| it.unreadable.push(ObjectId::Handle("old".into())));
        clean(|it| {
            it.handles.insert("windows-Reserved-ipam-handle".into(), [(net("10.0.0.0/26"), 1)].into());
        });
    }

    #[test]
    fn an_allocation_without_its_handle() {
        let missing = |it: &mut Cluster| {
            it.handles.remove(&web_handle());
        };
        // Three addresses in two blocks, one finding.
        assert_eq!(found(missing), [format!("missing_handle {} h1", web_handle())]);
        // One that cannot be read exists.
        clean(|it| {
            missing(it);
            it.unreadable.push(ObjectId::Handle(web_handle()));
        });
        // In a block that cannot be read there are no allocations to speak of.
        clean(|it| {
            missing(it);
            for cidr in ["10.0.0.0/26", "fd00::/122"].map(net) {
                it.blocks.remove(&cidr);
                it.unreadable.push(ObjectId::Block(cidr));
            }
        });
    }

    #[test]
    fn a_handle_that_counts_too_few() {
        let under = [format!("under_count {} h1", web_handle())];
        let count = |count: i64| {
            move |it: &mut Cluster| {
                web(it).insert(net("10.0.0.0/26"), count);
            }
        };
        assert_eq!(found(count(1)), under);
        assert_eq!(found(count(-3)), under);
        clean(count(2));
        // A block that it does not list, and the wrong one instead: too few, and still a handle with allocations.
        assert_eq!(
            found(|it| {
                web(it).remove(&net("fd00::/122"));
            }),
            under
        );
        assert_eq!(
            found(|it| {
                it.handles.insert(web_handle(), [(net("10.0.0.64/26"), 9)].into());
            }),
            under
        );
        assert_eq!(
            found(|it| {
                it.handles.insert(web_handle(), [].into());
            }),
            under
        );
    }
}
