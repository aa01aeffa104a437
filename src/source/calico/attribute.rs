//! Entries of a block's `attributes` (`libcalico-go/lib/backend/model/block.go`, `AllocationAttribute`).

use serde::de::{Deserialize, Deserializer, IgnoredAny};

use super::json::{Nullable, Text, object};
use super::timestamp;
use crate::model::{Attribute, AttributeKind, Handle, Name, TunnelKind, is_plain_handle};

/// An entry of the list.
pub(super) enum Entry<'de> {
    /// A pod with everything that Calico writes of one today, and nothing else.
    Pod(Pod<'de>),
    /// Anything. Boxed: it is rare, and large.
    Other(Box<Any<'de>>),
}

/// What is written of an ordinary pod; nothing of it is empty.
pub(super) struct Pod<'de> {
    pub(super) handle: &'de str,
    pub(super) namespace: &'de str,
    pub(super) node: &'de str,
    pub(super) pod: &'de str,
    /// In Go's form.
    pub(super) allocated_at: &'de str,
}

object! {
    pub(super) Any<'de>, rest IgnoredAny, {
        "handle_id" => handle: Text<'de>,
        "secondary" => owner: Owner<'de>,
        "alternateOwnerAttrs" => other_owner: Owner<'de>,
        "releasedAt" => released_at: Text<'de>,
    }
}

object! {
    // In Go a map of strings: any other value makes the block unreadable for Calico.
    pub(super) Owner<'de>, rest Nullable<Text<'de>>, {
        "node" => node: Text<'de>,
        "namespace" => namespace: Text<'de>,
        "pod" => pod: Text<'de>,
        "type" => kind: Text<'de>,
        "timestamp" => allocated_at: Text<'de>,
        "vmi-name" => machine: Text<'de>,
    }
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Entry::Other(Box::default())
    }
}

impl<'de> Deserialize<'de> for Entry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Any::deserialize(deserializer).map(|entry| Entry::Other(Box::new(entry)))
    }
}

impl Entry<'_> {
    /// The attribute that is written here.
    pub(super) fn read(&self, names: &mut Shared) -> Attribute {
        let handle = self.handle().filter(|handle| !handle.is_empty());
        let kind = self.kind();
        match self {
            Entry::Pod(it) => Attribute {
                handle: handle.map(Name::from),
                node: names.share(Some(it.node)),
                namespace: names.share(Some(it.namespace)),
                pod: Some(it.pod.into()),
                allocated_at: timestamp::go(it.allocated_at),
                ..Attribute::new(kind)
            },
            Entry::Other(it) => Attribute {
                kind,
                handle: handle.map(Name::from),
                node: names.share(it.owner.node.get()),
                namespace: names.share(it.owner.namespace.get()),
                pod: it.owner.pod.get().map(Name::from),
                kind_text: names.share(it.owner.kind.get()),
                peer_node: names.share(it.other_owner.node.get()),
                released_at: it.released_at.get().and_then(timestamp::rfc3339),
                allocated_at: it.owner.allocated_at.get().and_then(timestamp::go),
                abridged: false,
            },
        }
    }

    /// Whether it is a pod of this host, with a handle of a pod's form, and nothing else.
    pub(super) fn is_pod_of(&self, host: &Name) -> bool {
        let is_there = match self {
            Entry::Pod(it) => *it.node == **host,
            Entry::Other(it) => {
                it.owner.pod.get().is_some()
                    && it.owner.node.get() == Some(&**host)
                    && it.other_owner.node.get().is_none()
            }
        };
        is_there && self.handle().is_some_and(is_plain_handle) && self.kind() == AttributeKind::Workload
    }

    fn handle(&self) -> Option<&str> {
        match self {
            // Text without control characters needs no cutting.
            Entry::Pod(it) => Some(it.handle),
            Entry::Other(it) => it.handle.get().map(Handle::sanitize),
        }
    }

    fn kind(&self) -> AttributeKind {
        let handle = self.handle().unwrap_or_default();
        match self {
            Entry::Pod(_) => kind(handle, false, false, ""),
            Entry::Other(it) => {
                let (released, machine) = (it.released_at.get().is_some(), it.owner.machine.get().is_some());
                kind(handle, released, machine, it.owner.kind.get().unwrap_or_default())
            }
        }
    }
}

/// `ipam_block.go` for cooldown and Windows, `node/pkg/allocateip/allocateip.go` for tunnels,
/// `loadbalancer_controller.go` for load balancers, `vmipam/ipam_kubevirt.go` for machines.
fn kind(handle: &str, released: bool, machine: bool, text: &str) -> AttributeKind {
    const TUNNELS: [TunnelKind; 5] =
        [TunnelKind::Ipip, TunnelKind::VxlanV4, TunnelKind::VxlanV6, TunnelKind::WireguardV4, TunnelKind::WireguardV6];
    const TUNNEL_HANDLES: [&str; 5] = [
        "ipip-tunnel-addr-",
        "vxlan-tunnel-addr-",
        "vxlan-v6-tunnel-addr-",
        "wireguard-tunnel-addr-",
        "wireguard-v6-tunnel-addr-",
    ];
    if handle.is_empty() && released {
        AttributeKind::Cooldown
    } else if handle.eq_ignore_ascii_case("windows-reserved-ipam-handle") {
        AttributeKind::WindowsReserved
    } else if machine {
        AttributeKind::VirtualMachine
    } else if text.eq_ignore_ascii_case("LoadBalancer") || handle.starts_with("lb-") {
        AttributeKind::LoadBalancer
    } else if TUNNELS.iter().any(|tunnel| tunnel.attribute() == text)
        || TUNNEL_HANDLES.iter().any(|prefix| handle.starts_with(prefix))
    {
        AttributeKind::Tunnel
    } else {
        AttributeKind::Workload
    }
}

/// Names that a block repeats with every allocation, kept once.
#[derive(Default)]
pub(super) struct Shared(Vec<Name>);

impl Shared {
    /// Names that are known from elsewhere.
    pub(super) fn keep(&mut self, name: &Name) {
        self.0.push(name.clone());
    }

    fn share(&mut self, text: Option<&str>) -> Option<Name> {
        let text = text?;
        if let Some(known) = self.0.iter().find(|name| &***name == text) {
            return Some(known.clone());
        }
        let name = Name::from(text);
        // A block is used by few hosts and namespaces; the bound keeps the search short where it is not.
        if self.0.len() < 16 {
            self.0.push(name.clone());
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(entry: &str) -> Attribute {
        serde_json::from_str::<Entry<'_>>(entry).unwrap().read(&mut Shared::default())
    }

    #[test]
    fn the_holder_of_an_address_is_recognized() {
        use AttributeKind::*;
        for (entry, kind) in [
            (r#"{"handle_id":"k8s-pod-network.6d1f","secondary":{"pod":"p"}}"#, Workload),
            (r#"{}"#, Workload),
            (r#"{"handle_id":"","secondary":{}}"#, Workload),
            (r#"{"releasedAt":"2026-08-22T10:11:12Z"}"#, Cooldown),
            (r#"{"releasedAt":"then","handle_id":"\rjunk"}"#, Cooldown),
            (r#"{"releasedAt":"2026-08-22T10:11:12Z","handle_id":"a.b"}"#, Workload),
            (r#"{"releasedAt":"","secondary":null}"#, Workload),
            (
                r#"{"handle_id":"Windows-Reserved-IPAM-Handle","secondary":{"note":"windows host rsvd"}}"#,
                WindowsReserved,
            ),
            (r#"{"handle_id":"n.vmi.a.b","secondary":{"vmi-name":"b"}}"#, VirtualMachine),
            (r#"{"handle_id":"n.vmi.a.b","secondary":{"vmi-name":""}}"#, Workload),
            (r#"{"handle_id":"lb-Zm9v","secondary":{"service":"s"}}"#, LoadBalancer),
            (r#"{"handle_id":"x","secondary":{"type":"LOADBALANCER"}}"#, LoadBalancer),
            (r#"{"handle_id":"x","secondary":{"type":"wireguardV6TunnelAddress"}}"#, Tunnel),
            (r#"{"secondary":{"type":"ipipTunnelAddress"}}"#, Tunnel),
            (r#"{"handle_id":"x","secondary":{"type":"otherTunnelAddress"}}"#, Workload),
            (r#"{"handle_id":"ipip-tunnel-addr-n"}"#, Tunnel),
            (r#"{"handle_id":"vxlan-v6-tunnel-addr-n"}"#, Tunnel),
            (r#"{"handle_id":"my-tunnel-addr-n"}"#, Workload),
        ] {
            assert_eq!(only(entry).kind, kind, "{entry}");
        }
    }

    #[test]
    fn empty_text_is_absent_and_a_strange_time_is_none() {
        let entry = only(
            r#"{"handle_id":"a.b\rold","secondary":{"node":"","pod":"","type":"","timestamp":"noon"},"releasedAt":"now","alternateOwnerAttrs":{"node":""}}"#,
        );
        assert_eq!(entry.handle, Some("a.b".into()));
        assert_eq!((entry.node, entry.pod, entry.kind_text, entry.peer_node), (None, None, None, None));
        assert_eq!((entry.allocated_at, entry.released_at), (None, None));
    }
}
