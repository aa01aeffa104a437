//! What the datastore says, as Felix and confd read it: on its own, not with the exporter's code, which it is to check.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

pub(crate) struct Pool {
    pub(crate) cidr: IpNet,
    pub(crate) ipip: String,
    pub(crate) vxlan: String,
}

impl Pool {
    /// Felix programs what is wrapped (3.33's defaults), BIRD the rest.
    pub(crate) fn is_felix(&self) -> bool {
        self.ipip != "Never" || self.vxlan != "Never"
    }
}

pub(crate) struct Node {
    pub(crate) name: String,
    /// Its address, and the length of its subnet's prefix.
    pub(crate) v4: Option<IpAddr>,
    pub(crate) subnet: Option<IpNet>,
    pub(crate) v6: Option<IpAddr>,
    pub(crate) ipip: Option<IpAddr>,
    pub(crate) vtep: Option<IpAddr>,
    /// `vxlanTunnelMACAddr`, which Windows hosts have.
    pub(crate) mac: Option<String>,
}

pub(crate) struct Block {
    pub(crate) cidr: IpNet,
    pub(crate) host: Option<String>,
    /// Addresses that other hosts use.
    pub(crate) borrowed: Vec<(IpAddr, String)>,
}

pub(crate) struct Endpoint {
    pub(crate) node: String,
    pub(crate) device: String,
    pub(crate) addresses: Vec<IpAddr>,
}

/// All of it at one revision.
#[derive(Default)]
pub(crate) struct Picture {
    /// `nodeToNodeMeshEnabled: false`.
    pub(crate) mesh_off: bool,
    pub(crate) pools: Vec<Pool>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Host, CIDR and state of each affinity.
    affinities: Vec<(String, IpNet, String)>,
}

impl Picture {
    /// What cannot be read is left out, as Calico does.
    pub(crate) fn read(pairs: &[(String, String)]) -> Picture {
        let mut picture = Picture::default();
        for (key, text) in pairs {
            let Ok(value) = serde_json::from_str::<Value>(text) else { continue };
            let words: Vec<&str> = key.trim_start_matches('/').split('/').collect();
            match words[..] {
                ["calico", "ipam", "v2", "assignment", _, "block", _] => picture.blocks.extend(block(&value)),
                ["calico", "ipam", "v2", "host", host, _, "block", cidr] => {
                    let Ok(cidr) = cidr.replacen('-', "/", 1).parse() else { continue };
                    picture.affinities.push((host.to_owned(), cidr, string(&value["state"])));
                }
                ["calico", "resources", "v3", _, "ippools", _] => picture.pools.extend(pool(&value["spec"])),
                ["calico", "resources", "v3", _, "bgpconfigurations", "default"] => {
                    picture.mesh_off = value["spec"]["nodeToNodeMeshEnabled"] == false;
                }
                ["calico", "resources", "v3", _, "nodes", name] => picture.nodes.push(node(name, &value["spec"])),
                ["calico", "resources", "v3", _, "workloadendpoints", _, _] => {
                    picture.endpoints.push(endpoint(&value["spec"]));
                }
                _ => {}
            }
        }
        picture
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    pub(crate) fn pool_of(&self, cidr: &IpNet) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.cidr.contains(cidr))
    }

    /// What confd has a host announce, and whether it is confirmed: its affinities, those pending aside.
    pub(crate) fn announced_by(&self, host: &str) -> impl Iterator<Item = (IpNet, bool)> {
        let own = self.affinities.iter().filter(move |(owner, _, state)| owner == host && state != "pending");
        own.map(|(_, cidr, state)| (*cidr, state != "pendingDeletion"))
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn address(value: &Value) -> Option<IpAddr> {
    let text = value.as_str()?;
    text.split('/').next()?.parse().ok()
}

fn pool(spec: &Value) -> Option<Pool> {
    let cidr = spec["cidr"].as_str()?.parse().ok()?;
    Some(Pool { cidr, ipip: string(&spec["ipipMode"]), vxlan: string(&spec["vxlanMode"]) })
}

fn node(name: &str, spec: &Value) -> Node {
    let bgp = &spec["bgp"];
    Node {
        name: name.to_owned(),
        v4: address(&bgp["ipv4Address"]),
        subnet: bgp["ipv4Address"].as_str().and_then(|text| text.parse().ok()),
        v6: address(&bgp["ipv6Address"]),
        ipip: address(&bgp["ipv4IPIPTunnelAddr"]),
        vtep: address(&spec["ipv4VXLANTunnelAddr"]),
        mac: spec["vxlanTunnelMACAddr"].as_str().map(str::to_owned),
    }
}

fn block(value: &Value) -> Option<Block> {
    let cidr: IpNet = value["cidr"].as_str()?.parse().ok()?;
    let host = value["affinity"].as_str().and_then(|text| text.strip_prefix("host:")).map(str::to_owned);
    let mut borrowed = Vec::new();
    for (ordinal, allocation) in value["allocations"].as_array()?.iter().enumerate() {
        let Some(index) = allocation.as_u64() else { continue };
        let user = &value["attributes"][usize::try_from(index).ok()?]["secondary"]["node"];
        let Some(user) = user.as_str().filter(|user| Some(*user) != host.as_deref()) else { continue };
        borrowed.push((crate::ipam::address(cidr, ordinal), user.to_owned()));
    }
    Some(Block { cidr, host, borrowed })
}

fn endpoint(spec: &Value) -> Endpoint {
    let networks = spec["ipNetworks"].as_array().into_iter().flatten();
    Endpoint {
        node: string(&spec["node"]),
        device: string(&spec["interfaceName"]),
        addresses: networks.filter_map(address).collect(),
    }
}
