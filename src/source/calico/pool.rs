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
pub(in crate::source) fn pool(name: Name, value: &[u8]) -> Read {
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
pub(in crate::source) fn reservation(name: Name, value: &[u8]) -> Read {
    let reservation: Reservation = parse(value)?;
    let cidrs =
        reservation.spec.cidrs.0.iter().filter_map(|cidr| text::net(cidr.trim())).map(|net| net.trunc()).collect();
    Ok(Some(Object::Reservation(IpReservation { name, cidrs })))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{object, undecodable};
    use super::*;

    fn pool(value: &str) -> IpPool {
        match object(super::pool("p".into(), value.as_bytes())) {
            Object::Pool(pool) => pool,
            other => panic!("{other:?}"),
        }
    }

    fn spec(fields: &str) -> String {
        format!(r#"{{"kind":"IPPool","metadata":{{"name":"p"}},"spec":{{{fields}}},"status":null}}"#)
    }

    #[test]
    fn what_a_pool_does_not_say_is_filled_in() {
        let plain = IpPool {
            name: "p".into(),
            cidr: "10.0.0.0/16".parse().unwrap(),
            block_size: 26,
            ipip: EncapMode::Never,
            vxlan: EncapMode::Never,
            disabled: false,
            disable_bgp_export: false,
            node_selector: "all()".to_owned(),
            load_balancer: false,
            manual: false,
        };
        assert_eq!(pool(&spec(r#""cidr":"10.0.0.0/16""#)), plain);
        let empty = r#""cidr":"10.0.1.2/16","blockSize":0,"ipipMode":"","vxlanMode":null,"nodeSelector":"","allowedUses":[],"assignmentMode":null,"disabled":null"#;
        assert_eq!(pool(&spec(empty)), plain);
        assert_eq!(pool(&spec(r#""cidr":"fd00::/48""#)).block_size, 122);
    }

    #[test]
    fn what_a_pool_says_is_taken() {
        let full = pool(&spec(
            r#""cidr":"10.0.0.0/24","blockSize":28,"ipipMode":"CrossSubnet","vxlanMode":"Always","disabled":true,"disableBGPExport":true,"natOutgoing":true,"nodeSelector":"zone == 'a'","allowedUses":["Workload","LoadBalancer"],"assignmentMode":"Manual""#,
        ));
        assert_eq!((full.block_size, full.ipip, full.vxlan), (28, EncapMode::CrossSubnet, EncapMode::Always));
        assert!(full.disabled && full.disable_bgp_export && full.load_balancer && full.manual);
        assert_eq!(full.node_selector, "zone == 'a'");
        // Legal while it is disabled: such a pool only tells which destinations are not masqueraded.
        assert_eq!(pool(&spec(r#""cidr":"10.9.9.9","disabled":true"#)).block_size, 26);
    }

    #[test]
    fn a_pool_that_hands_out_nothing_is_disabled() {
        let status = |condition: &str| {
            pool(&format!(r#"{{"spec":{{"cidr":"10.0.0.0/16"}},"status":{{"conditions":[{condition}]}}}}"#)).disabled
        };
        assert!(status(r#"{"type":"Allocatable","status":"False","reason":"PoolDisabled"}"#));
        assert!(!status(r#"{"type":"Allocatable","status":"True"}"#));
        assert!(!status(r#"{"type":"Other","status":"False"},null"#));
        let deleting = r#"{"metadata":{"deletionTimestamp":"2026-08-22T10:00:00Z"},"spec":{"cidr":"10.0.0.0/16"}}"#;
        assert!(pool(deleting).disabled);
    }

    #[test]
    fn a_pool_that_calico_could_not_use_is_none() {
        for (fields, why) in [
            ("", "spec.cidr: missing"),
            (r#""cidr":"10.0.0.0/16","blockSize":33"#, "spec.blockSize: 33 is longer than an address of 10.0.0.0/16"),
            (r#""cidr":"10.0.0.0/16","blockSize":300"#, "spec.blockSize: invalid value: integer `300`, expected u8"),
            (
                r#""cidr":"10.0.0.0/16","ipipMode":"Sometimes""#,
                r#"spec.ipipMode: invalid value: string "Sometimes", expected Never, Always or CrossSubnet"#,
            ),
        ] {
            assert_eq!(undecodable(super::pool("p".into(), spec(fields).as_bytes())), why);
        }
    }

    #[test]
    fn entries_of_a_reservation_that_are_no_cidr_are_skipped() {
        let value = r#"{"spec":{"reservedCIDRs":[" 10.0.0.5 ","10.0.1.9/27","x","",null,"fd00::/120"]}}"#;
        let cidrs = ["10.0.0.5/32", "10.0.1.0/27", "fd00::/120"].map(|cidr| cidr.parse().unwrap()).to_vec();
        assert_eq!(
            object(reservation("r".into(), value.as_bytes())),
            Object::Reservation(IpReservation { name: "r".into(), cidrs })
        );
    }
}
