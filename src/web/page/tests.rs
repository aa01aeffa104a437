use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::*;
use crate::audit::explain::{Link, LinkKind, LinkState, Verdict};
use crate::audit::{
    AddressState, AddressView, BlockContent, BlockView, CannotTell, Fault, Finding, HostFigures, IpamReport,
    LeakReason, Report, RouteClass, RouteReason, RouteRow, RouteState, RoutesReport,
};
use crate::metrics::SourceStatus;
use crate::model::{AffinityState, BlockOwner};
use crate::state::{Entry, Filter, History, Side};

const EVIL: &str = "<script>alert(\"1\")</script>'&";

fn finding(_: usize) -> Finding {
    let fault = Fault::Leak(EVIL.into(), LeakReason::TwoEndpoints);
    let finding = Finding::new(fault, EVIL).host(Some(EVIL.into())).detail(EVIL);
    Finding { since: Some(SystemTime::UNIX_EPOCH), ..finding.expected(EVIL, EVIL).action(EVIL) }
}

/// Everything that may come from outside is hostile.
fn view(findings: usize) -> View {
    let mut etcd = SourceStatus::waiting("etcd", Side::Datastore);
    etcd.why_lost = Some(EVIL.to_string());
    etcd.synced_once = true;
    etcd.lost_since = Some(SystemTime::UNIX_EPOCH);
    let figures = HostFigures { allocated: 3, free: 1, lost: 1, pending: 1, ..HostFigures::default() };
    let ipam = IpamReport { hosts: [((EVIL.into(), EVIL.into()), figures)].into(), ..IpamReport::default() };
    let report = Report {
        ipam: Some(ipam),
        routes: Some(RoutesReport { pending: [(RouteClass::Borrowed, 2)].into(), ..RoutesReport::default() }),
        tunnels: None,
        leaks: true,
        findings: (0..findings).map(finding).collect(),
        causes: Vec::new(),
        notes: Vec::new(),
    };
    let address = |state| AddressView { address: IpAddr::from([10, 0, 0, 1]), state, holder: EVIL.to_owned() };
    let block = |content| BlockView {
        cidr: "10.0.0.0/29".parse().unwrap(),
        pool: Some(EVIL.into()),
        claims: vec![(BlockOwner::Other(EVIL.into()), AffinityState::Pending)],
        content,
    };
    let readable = BlockContent::Readable {
        owner: Some(BlockOwner::Virtual(EVIL.into())),
        size: 8,
        counts: [1; 7],
        addresses: AddressState::ALL.map(address).into(),
    };
    let blocks = vec![block(readable), block(BlockContent::Absent), block(BlockContent::Unreadable)];
    let row = |state| RouteRow {
        destination: "10.0.0.0/26".to_owned(),
        class: Some(RouteClass::RemoteBlock),
        host: Some(EVIL.into()),
        expected: EVIL.to_owned(),
        actual: EVIL.to_owned(),
        state,
        detail: EVIL.to_owned(),
        since: Some(SystemTime::UNIX_EPOCH),
    };
    let rows = vec![
        row(RouteState::Fault(RouteReason::WrongType)),
        row(RouteState::Pending(RouteReason::Missing)),
        row(RouteState::NoDevice(EVIL.into())),
        row(RouteState::Unsettled),
        row(RouteState::Ok),
    ];
    View {
        published: Arc::new(Published {
            report: Arc::new(report),
            report_time: Some(SystemTime::UNIX_EPOCH),
            cannot_tell: Some(CannotTell::UnknownHost { host: EVIL.into(), closest: vec![EVIL.into()] }),
            ..Published::starting(EVIL.into(), vec![etcd])
        }),
        telemetry_path: EVIL.to_owned(),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
        blocks: Ok(Some(HostBlocks { has_node: false, total: 3, from: 0, blocks })),
        routes: Ok(Some(RoutePage { total: 5, faults: 1, pending: 1, from: 0, rows })),
        explained: Ok(Ok(Some(explained()))),
        recent: Ok(Some(Recent { entries: vec![entry()], more: true, dropped: 1 })),
        timelines: HashMap::from([(EVIL.into(), vec![entry()])]),
    }
}

/// A change in which everything is hostile.
fn entry() -> Entry {
    let mut history = History::new(1 << 20);
    history.fault(false, EVIL.to_owned(), EVIL, Some(&EVIL.into()), Some(SystemTime::UNIX_EPOCH));
    history.entries(&Filter::default()).next().unwrap().clone()
}

/// A chain in which everything is hostile.
fn explained() -> Explanation {
    let link = |state| Link {
        more_findings: 0,
        kind: LinkKind::Path,
        subject: EVIL.to_owned(),
        state,
        wanted: EVIL.to_owned(),
        actual: EVIL.to_owned(),
        detail: EVIL.to_owned(),
        findings: vec![finding(0)],
    };
    Explanation {
        subject: EVIL.to_owned(),
        node: Some(EVIL.into()),
        datastore_in_sync: false,
        kernel_in_sync: false,
        links: vec![link(LinkState::Ok), link(LinkState::Fault), link(LinkState::CannotTell)],
        left_out: 2,
        verdict: Verdict {
            state: LinkState::Fault,
            link: Some(LinkKind::Path),
            sentence: EVIL.to_owned(),
            cause: EVIL.to_owned(),
            finding: Some(finding(0)),
        },
    }
}

fn pages() -> [Page; 7] {
    let explain = Page::Explain(EVIL.to_owned());
    let history = Page::History(Ok(HistoryQuery::default()));
    [Page::Overview, Page::Findings(0), Page::Hosts(0), Page::Host(EVIL.into(), 0), Page::Routes(0), explain, history]
}

/// Tags that are opened and closed, so that no part is left open by an early return.
fn assert_balanced(page: &str) {
    for tag in ["section", "table", "tbody", "article", "div", "details", "nav", "main", "h1", "h2", "h3", "code", "b"]
    {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}: {page}");
    }
}

#[test]
fn nothing_from_outside_becomes_markup_on_any_page() {
    for page in pages() {
        let (found, html) = render(&page, &view(3));
        assert_eq!(found, Found::Yes, "{page:?}");
        assert!(!html.contains("<script") && !html.contains("alert(\""), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;"), "{html}");
        // Neither scripts nor styles of their own: the policy would forbid them.
        assert!(!html.contains("style=") && !html.contains("<style"), "{html}");
        assert_balanced(&html);
        // `role="img"` of bars and grids has words; every table says what its columns are, lists of addresses aside.
        assert_eq!(html.matches("role=\"img\"").count(), html.matches("role=\"img\" aria-label=\"").count());
        assert_eq!(html.matches("<h1").count(), 1, "{html}");
    }
}

#[test]
fn every_state_has_a_letter_of_its_own_and_is_in_the_legend() {
    let (_, html) = render(&Page::Host(EVIL.into(), 0), &view(0));
    for state in AddressState::ALL {
        assert_eq!(html.matches(&format!("<i class=\"{}\"", state.as_str())).count(), 2, "{}", state.as_str());
    }
    let legend = html.split("class=\"legend\">").nth(1).unwrap().split("</ul>").next().unwrap();
    let letters: std::collections::BTreeSet<&str> =
        legend.split("</i>").filter_map(|part| part.rsplit('>').next()).take(7).collect();
    assert_eq!(letters.len(), 7, "{legend}");
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let rows = |page: &str| page.matches("<tr><th scope=\"row\"><code>&lt;").count();
    let (_, html) = render(&Page::Overview, &view(ROWS + 7));
    assert_eq!(rows(&html), FEW_ROWS);
    assert!(html.contains("107 critical · 0 warnings · 0 info") && html.contains("… and 97 more like this"), "{html}");
    let (_, html) = render(&Page::Findings(0), &view(ROWS + 7));
    assert_eq!(rows(&html), ROWS);
    assert!(html.contains("<b>1 of 2</b>") && html.contains("href=\"/findings?page=2\">next"), "{html}");
    for page in [1, 2, 1000] {
        let (_, html) = render(&Page::Findings(page), &view(ROWS + 7));
        assert_eq!(rows(&html), 7);
        assert!(html.contains("<b>2 of 2</b>"), "{html}");
    }
}

#[test]
fn what_was_not_judged_is_not_said_to_be_well() {
    let mut view = view(0);
    view.published = Arc::new(Published::starting("h1".into(), vec![SourceStatus::waiting("etcd", Side::Datastore)]));
    let (_, html) = render(&Page::Overview, &view);
    assert!(html.contains("Nothing has been judged yet") && !html.contains("Nothing is wrong"), "{html}");
    view.blocks = Err(Unanswered);
    view.routes = Err(Unanswered);
    let (found, html) = render(&Page::Overview, &view);
    assert_eq!((found, html.matches("The engine is busy").count()), (Found::Yes, 2));
    assert_eq!(render(&Page::Routes(0), &view).0, Found::Busy);
    assert_eq!(render(&Page::Host("h1".into(), 0), &view).0, Found::Busy);
}

#[test]
fn what_cannot_be_explained_is_said() {
    let mut view = view(0);
    let explain = |text: &str| Page::Explain(text.to_owned());
    view.explained = Err(SubjectError::TooLong);
    let (found, html) = render(&explain("x"), &view);
    assert_eq!(found, Found::No);
    assert!(html.contains("longer than 320 characters"), "{html}");
    view.explained = Ok(Err(Unanswered));
    assert_eq!(render(&explain("x"), &view).0, Found::Busy);
    view.explained = Ok(Ok(None));
    assert_eq!(render(&explain(""), &view).0, Found::Yes);
    assert_eq!(render(&explain("x"), &view).0, Found::Busy);
    view.explained = Ok(Ok(Some(explained())));
    let (_, html) = render(&explain("x"), &view);
    assert!(html.contains("not current") && html.contains("and 2 more blocks"), "{html}");
}
