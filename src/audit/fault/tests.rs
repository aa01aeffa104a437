use std::collections::BTreeSet;

use super::*;
use crate::model::TunnelKind;

#[test]
fn a_metric_has_reasons_exactly_where_it_has_the_label() {
    for metric in Metric::ALL {
        assert_eq!(metric.labels().contains(&"reason"), !metric.reasons().is_empty(), "{}", metric.as_str());
    }
}

#[test]
fn each_reason_of_a_tunnel_is_judged_by_one_part() {
    let mut parts: Vec<TunnelReason> = TunnelReason::of_rules().collect();
    parts.extend(TunnelReason::of_device(TunnelKind::VxlanV4));
    parts.extend(TunnelReason::of_address(TunnelKind::VxlanV4));
    assert_eq!(parts.iter().collect::<BTreeSet<_>>().len(), parts.len());
    assert_eq!(parts.into_iter().collect::<BTreeSet<_>>(), TunnelReason::ALL.into_iter().collect());
}

#[test]
fn faults_are_sorted_by_series_and_then_by_the_words_of_their_labels() {
    let device = |name: &str, reason| Fault::Tunnel(name.into(), reason);
    let sorted = [
        Fault::Mismatch(MismatchReason::Duplicate),
        Fault::Mismatch(MismatchReason::Neither),
        device("tunl0", TunnelReason::AddressMissing),
        device("tunl0", TunnelReason::Missing),
        device("vxlan.calico", TunnelReason::Down),
        Fault::Route(RouteClass::Borrowed, RouteReason::WrongType),
        Fault::Route(RouteClass::RemoteBlock, RouteReason::Missing),
    ];
    assert!(sorted.is_sorted());
}

#[test]
fn labels_have_the_names_of_the_series() {
    let fault = Fault::Entry("vxlan.calico".into(), Table::Fdb, EntryReason::Wrong);
    let labels: Vec<_> = fault.labels().collect();
    assert_eq!(labels, [("device", "vxlan.calico"), ("table", "fdb"), ("reason", "wrong")]);
    assert_eq!(fault.reason(), Some("wrong"));
    assert_eq!(Fault::Undecodable(Kind::Node).reason(), None);
}
