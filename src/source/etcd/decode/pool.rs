//! IP pools and reservations, with the defaults that Calico fills in on reading
//! (`libcalico-go/lib/clientv3/ippool.go`, `convertIpPoolFromStorage`).

use serde::de::IgnoredAny;

use super::json::{FromText, List, Maybe, object};
use super::text::{self, Masked};
use super::{Read, parse, why};
use crate::model::{EncapMode, Family, IpPool, IpReservation, Name};
use crate::state::{Object, Unreadable};

object! {
    Pool, rest IgnoredAny, {
        "metadata" => metadata: Metadata,
        "spec" => spec: PoolSpec,
        "status" => status: Status,
    }
}

object! {
    Metadata, rest IgnoredAny, {
        "deletionTimestamp" => deletion: Maybe<String>,
    }
}

object! {
    PoolSpec, rest IgnoredAny, {
        "cidr" => cidr: Maybe<Masked>,
        "blockSize" => block_size: u8,
        "ipipMode" => ipip: Maybe<EncapMode>,
        "vxlanMode" => vxlan: Maybe<EncapMode>,
        "disabled" => disabled: bool,
        "disableBGPExport" => disable_bgp_export: bool,
        "nodeSelector" => node_selector: Maybe<String>,
        "allowedUses" => allowed_uses: List<String>,
        "assignmentMode" => assignment_mode: String,
    }
}

object! {
    Status, rest IgnoredAny, {
        "conditions" => conditions: List<Condition>,
    }
}

object! {
    Condition, rest IgnoredAny, {
        "type" => kind: String,
        "status" => status: String,
    }
}

impl FromText for EncapMode {
    const EXPECTED: &'static str = "Never, Always or CrossSubnet";

    fn from_text(text: &str) -> Option<Self> {
        [EncapMode::Never, EncapMode::Always, EncapMode::CrossSubnet].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Reads the pool `name`.
///
/// A pool that is being deleted, or whose condition `Allocatable` is False, is disabled: the allocator treats all three
/// alike (`libcalico-go/lib/clientv3/client.go`, `filterIPPool`).
pub(super) fn pool(name: Name, value: &[u8]) -> Read {
    let Pool { metadata, spec, status } = parse(value)?;
    let Some(Masked(cidr)) = spec.cidr.0 else {
        return Err(Unreadable::Undecodable(why::at("spec.cidr", "missing")));
    };
    if spec.block_size > cidr.max_prefix_len() {
        let message = format!("{} is longer than an address of {cidr}", spec.block_size);
        return Err(Unreadable::Undecodable(why::at("spec.blockSize", &message)));
    }
    let block_size = match spec.block_size {
        0 => IpPool::default_block_size(Family::of_net(&cidr)),
        size => size,
    };
    let unallocatable = status.conditions.0.iter().any(|it| it.kind == "Allocatable" && it.status == "False");
    Ok(Some(Object::Pool(IpPool {
        name,
        cidr,
        block_size,
        ipip: spec.ipip.0.unwrap_or_default(),
        vxlan: spec.vxlan.0.unwrap_or_default(),
        disabled: spec.disabled || unallocatable || metadata.deletion.0.is_some(),
        disable_bgp_export: spec.disable_bgp_export,
        node_selector: spec.node_selector.0.unwrap_or_else(|| "all()".to_owned()),
        load_balancer: spec.allowed_uses.0.iter().any(|allowed| allowed == "LoadBalancer"),
        manual: spec.assignment_mode == "Manual",
    })))
}

object! {
    Reservation, rest IgnoredAny, {
        "spec" => spec: ReservationSpec,
    }
}

object! {
    ReservationSpec, rest IgnoredAny, {
        "reservedCIDRs" => cidrs: List<String>,
    }
}

/// Reads the reservation `name`. Entries that are no CIDR are skipped, as the allocator does
/// (`libcalico-go/lib/clientv3/ipreservation.go`).
pub(super) fn reservation(name: Name, value: &[u8]) -> Read {
    let reservation: Reservation = parse(value)?;
    let cidrs =
        reservation.spec.cidrs.0.iter().filter_map(|cidr| text::net(cidr.trim())).map(|net| net.trunc()).collect();
    Ok(Some(Object::Reservation(IpReservation { name, cidrs })))
}
