//! Which links there are for what is asked about.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Known, Link, LinkKind, Subject, some};
use crate::model::{BlockOwner, Name, address_at, host_net};

/// Addresses of one pod that are explained: more than any has.
const MOST_ADDRESSES: usize = 16;

/// The chain, and how many of its parts were left out.
pub(super) fn of(known: &Known<'_>, subject: &Subject) -> (Vec<Link>, usize) {
    match subject {
        Subject::Address(address) => (known.address_chain(*address), 0),
        Subject::Cidr(net) => known.cidr_chain(*net),
        Subject::Host(name) => known.host_chain(name),
        Subject::Pod { namespace, pod } => (known.pod_chain(namespace, pod), 0),
    }
}

impl Known<'_> {
    pub(super) fn address_chain(&self, address: IpAddr) -> Vec<Link> {
        let net = host_net(address);
        let host = self.host_of(address);
        let mut links = vec![self.pool(net), self.block(net, true), self.address(address), self.endpoint(address)];
        links.extend(host.iter().flat_map(|host| self.host_links(host)));
        links.extend(self.way(net));
        merged(links)
    }

    /// A block, and the way to it.
    fn block_chain(&self, net: IpNet) -> Vec<Link> {
        let mut links = vec![self.block(net, false)];
        links.extend(self.way(net));
        links
    }

    /// The Node, and the way to it.
    fn host_links(&self, name: &Name) -> Vec<Link> {
        [self.host(name)].into_iter().chain(self.underlay(name)).collect()
    }

    fn cidr_chain(&self, net: IpNet) -> (Vec<Link>, usize) {
        let datastore = &self.state.datastore;
        let inside: BTreeSet<IpNet> =
            datastore.cidrs_within(&net).chain(datastore.dark_blocks_within(&net).copied()).collect();
        let mut links = vec![self.pool(net)];
        if inside.is_empty() || inside.contains(&net) {
            links.push(self.block(net, false));
            links.extend(self.owner_of(net).iter().flat_map(|host| self.host_links(host)));
            links.extend(self.way(net));
        } else if self.state.kernel.route(&net).is_some() {
            links.extend(self.way(net));
        }
        let (shown, left_out) = some(inside.into_iter().filter(|it| *it != net).collect());
        for block in shown {
            links.extend(self.block_chain(block));
        }
        (merged(links), left_out)
    }

    fn host_chain(&self, name: &Name) -> (Vec<Link>, usize) {
        let datastore = &self.state.datastore;
        let host = |owner: &BlockOwner| owner.host() == Some(name);
        let owned = datastore.blocks().filter(|block| block.host() == Some(name)).map(|block| block.cidr);
        let claimed = datastore.affinities().filter(|(_, owner, _)| host(owner)).map(|(cidr, ..)| *cidr);
        let blocks: BTreeSet<IpNet> = owned.chain(claimed).collect();
        let mut links: Vec<Link> = self.underlay(name).into_iter().collect();
        links.push(self.host(name));
        let tunnels: Vec<IpAddr> =
            datastore.nodes().get(name).map(|node| node.tunnels.values().copied().collect()).unwrap_or_default();
        for address in tunnels {
            links.push(self.address(address));
            links.extend(self.way(host_net(address)));
        }
        let (shown, left_out) = some(blocks.into_iter().collect());
        for block in shown {
            links.extend(self.block_chain(block));
        }
        (merged(links), left_out)
    }

    fn pod_chain(&self, namespace: &str, pod: &str) -> Vec<Link> {
        let addresses = self.addresses_of(namespace, pod);
        if addresses.is_empty() {
            let why = if self.state.datastore.knows_endpoints() {
                "no endpoint and no allocation names this pod"
            } else {
                "no allocation that is kept here names this pod: of other hosts' pods, names are not kept while the \
                 datastore is followed; ask for its address, or use `calico-exporter explain`"
            };
            let link = Link::new(LinkKind::Endpoint, format!("{namespace}/{pod}")).wanted("an endpoint of this pod");
            return vec![link.actual("none").cannot_tell(why)];
        }
        merged(addresses.into_iter().take(MOST_ADDRESSES).flat_map(|address| self.address_chain(address)).collect())
    }

    fn addresses_of(&self, namespace: &str, pod: &str) -> BTreeSet<IpAddr> {
        let datastore = &self.state.datastore;
        let endpoints = datastore.endpoints().values();
        let named = endpoints.filter(|it| &*it.id.namespace == namespace && &*it.pod == pod);
        let mut found: BTreeSet<IpAddr> = named.flat_map(|endpoint| endpoint.addresses.iter().copied()).collect();
        for block in datastore.blocks() {
            for (ordinal, attribute) in block.allocations() {
                let names = attribute
                    .is_some_and(|it| it.namespace.as_deref() == Some(namespace) && it.pod.as_deref() == Some(pod));
                found.extend(address_at(&block.cidr, u64::from(ordinal)).filter(|_| names));
            }
        }
        found
    }
}

/// Each link once, with everything that is wrong with it: blocks share their tunnel's device, addresses their host.
fn merged(links: Vec<Link>) -> Vec<Link> {
    let mut kept: Vec<Link> = Vec::new();
    for link in links {
        match kept.iter().position(|it| it.kind == link.kind && it.subject == link.subject) {
            None => kept.push(link),
            Some(at) => {
                let first = kept.remove(at);
                let more_findings = first.more_findings.max(link.more_findings);
                let link = Link { more_findings, ..first.by(link.findings) };
                kept.insert(at, link);
            }
        }
    }
    kept
}
