//! The datastore's part of the chain: pool, block, address, endpoint, host.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::SystemTime;

use ipnet::IpNet;

use super::{Known, Link, LinkKind, listed};
use crate::audit::fault::{AffinityReason, BlockReason, Fault, LeakReason};
use crate::audit::finding::Finding;
use crate::audit::ipam::{AddressState, BlockContent, BlockView, judge_cidr, view_of};
use crate::audit::routes::RouteAudit;
use crate::audit::setting::tunnel_class;
use crate::audit::{node_addresses, tunnels, words};
use crate::model::{
    AllocationBlock, Attribute, AttributeKind, BlockOwner, EndpointId, Family, IpPool, Name, PoolClass,
    WorkloadEndpoint, host_net, host_route,
};
use crate::state::{Kind, ObjectId};

/// Keys of one host that are looked at: more than Calico lets it have.
const MOST_KEYS: usize = 64;

/// The link that a finding about a block or an address belongs to.
fn link_of(finding: &Finding) -> LinkKind {
    match finding.fault {
        Fault::Block(BlockReason::OutsideAnyPool) => LinkKind::Pool,
        Fault::Affinity(AffinityReason::UnknownHost | AffinityReason::OverBlockLimit) => LinkKind::Host,
        Fault::Leak(_, LeakReason::OnUnknownHost) => LinkKind::Host,
        Fault::Leak(_, LeakReason::InUseNotAllocated) => LinkKind::Address,
        Fault::Leak(..) => LinkKind::Endpoint,
        Fault::Mismatch(_) | Fault::Handle(_) | Fault::Tunnel(..) => LinkKind::Address,
        Fault::Undecodable(_)
        | Fault::Block(_)
        | Fault::Affinity(_)
        | Fault::Entry(..)
        | Fault::Node(_)
        | Fault::Route(..)
        | Fault::Owner(..) => LinkKind::Block,
    }
}

fn mode(pool: &IpPool) -> String {
    let mode = tunnels::configured_mode(pool).as_str().replace('_', " ");
    let disabled = if pool.disabled { ", disabled for new addresses" } else { "" };
    format!("pool {} {}, mode {mode}, blocks of /{}{disabled}", pool.name, pool.cidr, pool.block_size)
}

impl Known<'_> {
    /// What is wrong with the block around a prefix, as far as it belongs to this link.
    fn block_findings(&self, net: IpNet, link: LinkKind) -> Vec<Finding> {
        let cidr = self.block_cidr(net);
        let found = judge_cidr(&self.state.datastore, cidr);
        found.into_iter().filter(|finding| link_of(finding) == link).collect()
    }

    /// The CIDR of the block that a prefix belongs to: of the block around it, or of a key that claims one.
    pub(super) fn block_cidr(&self, net: IpNet) -> IpNet {
        let datastore = &self.state.datastore;
        if let Some(block) = datastore.block_around(&net) {
            return block.cidr;
        }
        if let Some(dark) = datastore.dark_blocks_around(&net).next() {
            return *dark;
        }
        let length = datastore.pool_of(&net).map(|pool| pool.block_size.min(net.prefix_len()));
        let block = length.and_then(|length| IpNet::new(net.addr(), length).ok()).map(|it| it.trunc());
        block.filter(|it| datastore.has_affinity(it)).unwrap_or(net)
    }

    pub(super) fn pool(&self, net: IpNet) -> Link {
        let datastore = &self.state.datastore;
        let link = Link::new(LinkKind::Pool, words::destination(&net)).wanted("a pool around it");
        match datastore.pool_of(&net) {
            Some(pool) => {
                let nobody = self.context().is_some_and(|it| it.setting.is_without_programmer(pool.class()));
                let nobody = if nobody { "; nobody here programs it" } else { "" };
                link.actual(format!("{}{nobody}", mode(pool))).by(self.owner_faults(pool))
            }
            None if datastore.has_unreadable(Kind::Pool) => {
                link.actual("in no pool that can be read").cannot_tell("a pool cannot be read, and may be this one's")
            }
            None => link
                .actual("in no pool")
                .by(self.block_findings(net, LinkKind::Pool))
                .cannot_tell("it is in no pool: Calico gives out no such address"),
        }
    }

    /// J27, J37: both or nobody programs the pool's routes, or nobody carries them.
    pub(super) fn owner_faults(&self, pool: &IpPool) -> Vec<Finding> {
        let Some(routes) = self.routes else { return Vec::new() };
        let class = pool.class().as_str();
        let faults = routes.current_owner_faults(&self.state.datastore);
        faults.into_iter().filter(|finding| finding.subject == class).collect()
    }

    /// The block around a prefix. `of_address`: its single addresses are told of by a link of their own.
    pub(super) fn block(&self, net: IpNet, of_address: bool) -> Link {
        let datastore = &self.state.datastore;
        let cidr = self.block_cidr(net);
        if let Some(block) = datastore.block(&cidr).filter(|block| block.pod_cidr) {
            let owner = block.owner.as_ref().map_or("nobody".to_owned(), BlockOwner::to_string);
            return Link::new(LinkKind::Block, cidr)
                .wanted("the podCIDR of one Node")
                .actual(format!("the podCIDR of {owner}: host-local IPAM gives its addresses out"));
        }
        let link = Link::new(LinkKind::Block, cidr).wanted("a block with one owner that has a confirmed key for it");
        let view = view_of(datastore, cidr);
        let link = link.actual(block_words(&view));
        let mut findings = self.block_findings(net, LinkKind::Block);
        // A claim of a host that the chain does not lead to belongs here.
        let host = host_route(&net).map_or_else(|| self.owner_of(net), |address| self.host_of(address));
        findings.extend(self.block_findings(net, LinkKind::Host).into_iter().filter(|it| it.host != host));
        if !of_address {
            findings.extend(self.block_findings(net, LinkKind::Address));
        }
        let unreadable_key = datastore.is_dark_affinity(&cidr);
        match view.content {
            BlockContent::Unreadable => link.fault("the block's value cannot be read: Calico drops it"),
            BlockContent::Absent => link.by(findings).cannot_tell("no block is here: nobody has any of its addresses"),
            BlockContent::Readable { .. } if unreadable_key => link.fault("a key that claims the block cannot be read"),
            BlockContent::Readable { .. } => link.by(findings),
        }
    }

    /// The owner of the block at a prefix.
    pub(super) fn owner_of(&self, net: IpNet) -> Option<Name> {
        let block = self.state.datastore.block_around(&net)?;
        block.host().cloned()
    }

    /// The host that an address is on: that of its allocation, of its endpoint, or its block's.
    pub(super) fn host_of(&self, address: IpAddr) -> Option<Name> {
        let allocated = self.allocation(address).and_then(|(block, _, attribute)| {
            let attribute = attribute?;
            attribute.node.clone().filter(|name| !name.is_empty()).or_else(|| block.host().cloned())
        });
        let endpoint = || self.state.datastore.endpoints_at(address).next().map(|endpoint| endpoint.node.clone());
        allocated.or_else(endpoint).or_else(|| self.owner_of(host_net(address)))
    }

    pub(super) fn address(&self, address: IpAddr) -> Link {
        let datastore = &self.state.datastore;
        let net = host_net(address);
        let subject = address.to_string();
        if self.block_of(address).is_some_and(|block| block.pod_cidr) {
            return Link::new(LinkKind::Address, &subject)
                .wanted("an address of a podCIDR")
                .actual("host-local IPAM gives it out, which leaves nothing to be read here");
        }
        let link = Link::new(LinkKind::Address, &subject).wanted("allocated, once, with a handle that counts it");
        let of_address = |finding: &Finding| link_of(finding) == LinkKind::Address;
        let mut findings = self.block_findings(net, LinkKind::Address);
        findings.retain(|finding| finding.subject == subject);
        findings.extend(self.about(&subject).filter(|finding| of_address(finding)).cloned());
        if datastore.is_dark(&net) {
            return link
                .actual("its block cannot be read")
                .by(findings)
                .cannot_tell("nothing follows from a block that cannot be read");
        }
        let Some(block) = self.block_of(address) else {
            return link.actual("in no block").by(findings).cannot_tell("nobody has been given it");
        };
        let Some((_, ordinal, attribute)) = self.allocation(address) else {
            return link.actual(self.free_words(block, address)).by(findings).cannot_tell("nobody has been given it");
        };
        let handle = attribute.and_then(|it| it.handle.as_deref());
        if let Some(handle) = handle {
            findings.extend(self.about(handle).filter(|it| matches!(it.fault, Fault::Handle(_))).cloned());
        }
        let resting = attribute.is_some_and(|it| it.kind == AttributeKind::Cooldown);
        let link = link.actual(allocation_words(block, ordinal, attribute)).by(findings);
        if resting { link.cannot_tell("it was released and rests: nobody has it now") } else { link }
    }

    fn free_words(&self, block: &AllocationBlock, address: IpAddr) -> String {
        let view = view_of(&self.state.datastore, block.cidr);
        let state = match &view.content {
            BlockContent::Readable { addresses, .. } => addresses.iter().find(|it| it.address == address),
            BlockContent::Absent | BlockContent::Unreadable => None,
        };
        state.map_or("free", |it| it.state.as_str()).to_owned()
    }

    pub(super) fn endpoint(&self, address: IpAddr) -> Link {
        let datastore = &self.state.datastore;
        let subject = address.to_string();
        let link = Link::new(LinkKind::Endpoint, &subject);
        let findings: Vec<Finding> =
            self.about(&subject).filter(|finding| link_of(finding) == LinkKind::Endpoint).cloned().collect();
        let endpoints: Vec<&WorkloadEndpoint> = datastore.endpoints_at(address).collect();
        let attribute = self.allocation(address).and_then(|(_, _, attribute)| attribute);
        let kind = attribute.map(|it| it.kind);
        if let Some(tunnel) = self.tunnel_words(address) {
            return link.wanted("a Node that has it as its tunnel's").actual(tunnel).by(findings);
        }
        let link = link.wanted("an endpoint that uses it, on the host that it is allocated to");
        match (endpoints.as_slice(), kind) {
            ([], Some(AttributeKind::LoadBalancer)) => link.actual("a Service's: no endpoint has it").by(findings),
            ([], Some(AttributeKind::WindowsReserved)) => link.actual("reserved on a Windows host").by(findings),
            ([], None | Some(AttributeKind::Cooldown)) => {
                link.actual("none").by(findings).cannot_tell("nobody has been given the address")
            }
            ([], Some(AttributeKind::Tunnel)) => {
                link.actual("allocated to a tunnel").by(findings).cannot_tell("no Node has it as its tunnel's address")
            }
            ([], Some(_)) if !datastore.knows_endpoints() => link.actual("not known").by(findings).cannot_tell(
                "of other hosts' endpoints nothing is kept while the datastore is followed; `calico-exporter explain` \
                 reads them",
            ),
            ([], Some(AttributeKind::VirtualMachine)) => link
                .actual("none: the machine may be stopped")
                .by(findings)
                .cannot_tell("its machine is not known here"),
            ([], Some(_)) => {
                link.actual("none").by(findings).cannot_tell("no endpoint has it, and leaks are not judged")
            }
            (endpoints, _) => {
                let names: Vec<String> = endpoints.iter().map(|it| endpoint_words(it)).collect();
                let unreadable = endpoints.iter().any(|it| self.is_unreadable(&it.id));
                let link = link.actual(listed(&names, " and ")).by(findings);
                if unreadable { link.cannot_tell("an endpoint cannot be read") } else { link }
            }
        }
    }

    fn is_unreadable(&self, id: &EndpointId) -> bool {
        self.state.datastore.unreadable().contains_key(&ObjectId::Endpoint(id.clone()))
    }

    /// Whose tunnel address it is.
    fn tunnel_words(&self, address: IpAddr) -> Option<String> {
        self.state.datastore.nodes().iter().find_map(|(name, node)| {
            let (kind, _) = node.tunnels.iter().find(|(_, it)| **it == address)?;
            let what = tunnel_class(*kind).map_or("WireGuard", PoolClass::as_str);
            Some(format!("{} address of Node {name} ({what})", kind.device()))
        })
    }

    pub(super) fn host(&self, name: &Name) -> Link {
        let datastore = &self.state.datastore;
        let link = Link::new(LinkKind::Host, name).wanted("a Node of this name with an address to route to");
        let here = self.me() == Some(name);
        // Nodes' addresses are asked about now, without waiting for the IPAM collector or its grace period (J34).
        let of_address = |finding: &Finding| matches!(finding.fault, Fault::Node(reason) if reason.is_of_cluster());
        let mut findings: Vec<Finding> = node_addresses::judge(datastore);
        findings.retain(|finding| finding.subject == **name);
        findings.extend(self.about(name).filter(|finding| !of_address(finding)).cloned());
        findings.extend(
            self.findings.iter().filter(|it| link_of(it) == LinkKind::Host && it.host.as_ref() == Some(name)).cloned(),
        );
        let keys = self.state.datastore.affinities().filter(|(_, owner, _)| owner.host() == Some(name));
        for cidr in keys.map(|(cidr, ..)| *cidr).take(MOST_KEYS) {
            let unknown =
                self.block_findings(cidr, LinkKind::Host).into_iter().filter(|it| it.host.as_ref() == Some(name));
            findings.extend(unknown);
        }
        if here {
            findings.extend(self.near_end().filter(|it| matches!(it.fault, Fault::Node(_))).cloned());
        }
        if datastore.is_unreadable_node(name) {
            return link.actual("a Node that cannot be read").fault("the Node's value cannot be read");
        }
        let Some(node) = datastore.nodes().get(name) else {
            return link
                .actual("no such Node")
                .by(findings)
                .fault(format!("there is no Node {name}: nothing leads to it"));
        };
        let addresses: Vec<String> =
            Family::ALL.iter().filter_map(|family| node.routing_address(*family)).map(|it| it.to_string()).collect();
        let place = if here { " (this host)" } else { "" };
        if addresses.is_empty() {
            return link
                .actual(format!("a Node without address{place}"))
                .by(findings)
                .cannot_tell("its Node has no address: nothing can be routed to it");
        }
        let mut internal: Vec<String> = node.internal_addresses().map(|it| it.to_string()).collect();
        internal.retain(|it| !addresses.contains(it));
        let beside = match internal.as_slice() {
            [] => String::new(),
            _ if internal.len() < node.internal_addresses().count() => String::new(),
            others => format!("; Kubernetes has {} for it", others.join(", ")),
        };
        let text = format!("Node {name} at {}{beside}{place}", addresses.join(", "));
        link.actual(text).by(findings)
    }

    /// This host's own faults, which every way that begins here shares (J36).
    pub(super) fn near_end(&self) -> impl Iterator<Item = &Finding> + '_ {
        let me = self.me();
        let own = self.routes.into_iter().flat_map(RouteAudit::host_findings);
        let of_ipam = self.findings.iter().filter(move |it| it.host.as_ref() == me);
        let mut seen: HashSet<(&Fault, &str)> = HashSet::new();
        own.chain(of_ipam)
            .filter(move |it| match it.fault {
                Fault::Tunnel(..) => it.host.as_ref() == me,
                Fault::Node(_) => me.is_some_and(|me| it.subject == **me),
                _ => false,
            })
            .filter(move |it| seen.insert((&it.fault, it.subject.as_str())))
    }
}

fn block_words(view: &BlockView) -> String {
    let claims: Vec<String> =
        view.claims.iter().map(|(owner, state)| format!("key of {owner} {}", state.as_str())).collect();
    let claims = if claims.is_empty() { "no key".to_owned() } else { listed(&claims, ", ") };
    match &view.content {
        BlockContent::Absent => format!("no block, {claims}"),
        BlockContent::Unreadable => format!("a block that cannot be read, {claims}"),
        BlockContent::Readable { owner, size, counts, .. } => {
            let owner = owner.as_ref().map_or("nobody".to_owned(), BlockOwner::to_string);
            let fill: Vec<String> = AddressState::ALL
                .iter()
                .filter(|state| counts[**state as usize] > 0)
                .map(|state| format!("{} {}", counts[*state as usize], state.as_str()))
                .collect();
            format!("affine to {owner}, {claims}; of {size} addresses {}", fill.join(", "))
        }
    }
}

fn allocation_words(block: &AllocationBlock, ordinal: u32, attribute: Option<&Attribute>) -> String {
    let mut text = format!("ordinal {ordinal}, {}", crate::audit::ipam::holder(attribute));
    if let Some(attribute) = attribute {
        if attribute.node.as_ref().is_some_and(|node| block.host() != Some(node))
            && attribute.kind != AttributeKind::Cooldown
        {
            text += ", borrowed";
        }
        if let Some(handle) = &attribute.handle {
            text += &format!(", handle {handle}");
        }
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|it| it.as_secs());
        if let Some(seconds) = attribute.allocated_at.and_then(since) {
            text += &format!(", since {}", words::moment(seconds));
        }
        if attribute.abridged {
            text += " (its name and handle are not kept here)";
        }
    }
    text
}

fn endpoint_words(endpoint: &WorkloadEndpoint) -> String {
    format!("{}/{} on {} behind {}", endpoint.id.namespace, endpoint.pod, endpoint.node, endpoint.interface)
}

/// Whether a prefix is one address.
pub(super) fn is_single(net: &IpNet) -> bool {
    host_route(net).is_some()
}
