//! The findings as JSON: one form for `/api/v1/findings` and `check --output json`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::audit::{Cause, Fault, Finding, Report};
use crate::metrics::{InSync, Published};
use crate::model::{printable_json, rfc3339};

/// The version of the form: it changes when a reader of the old one would be wrong.
const SCHEMA: u32 = 2;

/// All findings and what is behind them as one JSON document, sorted, so that two runs on one picture are equal byte for
/// byte. `causes` name findings by their positions.
pub fn findings_json(node: &str, in_sync: InSync, findings: &[Finding], causes: &[Cause]) -> String {
    let mut named: Vec<Named> = findings.iter().map(|finding| Named { finding, cause: None }).collect();
    for cause in causes {
        for at in &cause.findings {
            if let Some(named) = named.get_mut(*at) {
                named.cause = Some(cause);
            }
        }
    }
    named.sort_by_key(|it| it.finding);
    // Only a map with keys that are no strings fails, and there is none.
    printable_json(serde_json::to_string(&Document { node, in_sync, causes, findings: named }).unwrap_or_default())
}

/// The JSON of the last report, written once and shared by all who ask.
#[derive(Debug, Default)]
pub(super) struct FindingsJson(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    /// It is not kept alive.
    report: Weak<Report>,
    in_sync: Option<InSync>,
    json: Bytes,
}

impl FindingsJson {
    fn lock(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was written already. What was written of another report is forgotten, which takes memory for nothing.
    pub(super) fn made(&self, published: &Published) -> Option<Bytes> {
        let mut made = self.lock();
        let same = std::ptr::eq(made.report.as_ptr(), Arc::as_ptr(&published.report))
            && made.in_sync == Some(published.in_sync());
        if !same {
            *made = Made::default();
        }
        same.then(|| made.json.clone())
    }

    /// Writes it where nobody else has.
    pub(super) fn json(&self, published: &Published) -> Bytes {
        if let Some(made) = self.made(published) {
            return made;
        }
        let (report, in_sync) = (&published.report, published.in_sync());
        let mut json = findings_json(&published.node, in_sync, &report.findings, &report.causes);
        // It stays for as long as the report does.
        json.shrink_to_fit();
        let json = Bytes::from(json);
        *self.lock() = Made { report: Arc::downgrade(report), in_sync: Some(in_sync), json: json.clone() };
        json
    }
}

struct Document<'a> {
    node: &'a str,
    in_sync: InSync,
    causes: &'a [Cause],
    findings: Vec<Named<'a>>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Document", 5)?;
        document.serialize_field("schema", &SCHEMA)?;
        document.serialize_field("node", self.node)?;
        document.serialize_field("in_sync", &Sides(self.in_sync))?;
        document.serialize_field("causes", &self.causes.iter().map(Behind).collect::<Vec<_>>())?;
        document.serialize_field("findings", &self.findings)?;
        document.end()
    }
}

struct Sides(InSync);

impl Serialize for Sides {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sides = serializer.serialize_struct("InSync", 2)?;
        sides.serialize_field("datastore", &self.0.datastore)?;
        sides.serialize_field("kernel", &self.0.kernel)?;
        sides.end()
    }
}

/// A cause, and how many findings it explains.
struct Behind<'a>(&'a Cause);

impl Serialize for Behind<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Cause { kind, severity, subject, since, findings, detail, evidence, action } = self.0;
        let mut cause = serializer.serialize_struct("Cause", 9)?;
        cause.serialize_field("id", &self.0.id())?;
        cause.serialize_field("cause", kind.as_str())?;
        cause.serialize_field("severity", severity.as_str())?;
        cause.serialize_field("subject", subject)?;
        cause.serialize_field("since", &since.and_then(rfc3339))?;
        cause.serialize_field("findings", &findings.len())?;
        cause.serialize_field("detail", detail)?;
        cause.serialize_field("evidence", evidence)?;
        cause.serialize_field("action", action)?;
        cause.end()
    }
}

/// A finding and the cause that explains it.
struct Named<'a> {
    finding: &'a Finding,
    cause: Option<&'a Cause>,
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Destructured, so that a field that is added must be thought of here.
        let Finding { fault, subject, host, since, detail, expected, actual, action } = self.finding;
        let mut finding = serializer.serialize_struct("Finding", 11)?;
        finding.serialize_field("metric", fault.metric().as_str())?;
        finding.serialize_field("labels", &Labels(fault))?;
        finding.serialize_field("subject", subject)?;
        finding.serialize_field("host", &host.as_deref())?;
        finding.serialize_field("since", &since.and_then(rfc3339))?;
        finding.serialize_field("detail", detail)?;
        finding.serialize_field("expected", expected)?;
        finding.serialize_field("actual", actual)?;
        finding.serialize_field("action", action)?;
        finding.serialize_field("severity", self.finding.severity().as_str())?;
        finding.serialize_field("cause", &self.cause.map(Cause::id))?;
        finding.end()
    }
}

/// The labels of a fault's series.
struct Labels<'a>(&'a Fault);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.labels())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::audit::{BlockReason, CauseKind, MismatchReason, RouteClass, RouteReason, Severity};

    const IN_SYNC: InSync = InSync { datastore: true, kernel: false };

    #[test]
    fn fields_are_those_of_the_contract_in_its_order() {
        let fault = Fault::Route(RouteClass::RemoteBlock, RouteReason::Missing);
        let mut finding = Finding::new(fault, "10.204.1.64/26")
            .host(Some("h1".into()))
            .detail("no \"route\"\n")
            .expected("via 172.16.0.2", "none")
            .action("look at BIRD");
        finding.since = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900));
        let cause = Cause {
            kind: CauseKind::HostUnreachable,
            severity: Severity::Warning,
            subject: "h1".to_owned(),
            since: finding.since,
            findings: vec![0],
            detail: "h1 is away".to_owned(),
            evidence: vec!["1 route".to_owned()],
            action: "see h1".to_owned(),
        };
        assert_eq!(
            findings_json("h1", IN_SYNC, &[finding], &[cause]),
            r#"{"schema":2,"node":"h1","in_sync":{"datastore":true,"kernel":false},"causes":[{"id":"host_unreachable/h1","cause":"host_unreachable","severity":"warning","subject":"h1","since":"2023-11-14T22:13:20Z","findings":1,"detail":"h1 is away","evidence":["1 route"],"action":"see h1"}],"findings":[{"metric":"calico_route_faults","labels":{"class":"remote_block","reason":"missing"},"subject":"10.204.1.64/26","host":"h1","since":"2023-11-14T22:13:20Z","detail":"no \"route\"\n","expected":"via 172.16.0.2","actual":"none","action":"look at BIRD","severity":"warning","cause":"host_unreachable/h1"}]}"#
        );
    }

    #[test]
    fn order_does_not_depend_on_how_they_were_found() {
        let one = Finding::new(Fault::Block(BlockReason::Overlap), "10.0.0.0/26");
        let other = Finding::new(Fault::Mismatch(MismatchReason::Neither), "10.0.0.1");
        let json = findings_json("h1", IN_SYNC, &[one.clone(), other.clone()], &[]);
        assert_eq!(json, findings_json("h1", IN_SYNC, &[other, one], &[]));
        assert!(json.contains(r#""host":null,"since":null,"#), "{json}");
        assert!(json.contains(r#""cause":null"#), "{json}");
    }

    #[test]
    fn nothing_is_an_empty_list() {
        assert!(findings_json("h1", IN_SYNC, &[], &[]).ends_with(r#""findings":[]}"#));
    }
}
