//! The findings as JSON: one form for `/api/v1/findings` and `check --output json`.

use std::time::SystemTime;

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::audit::Finding;
use crate::metrics::InSync;

/// The version of the form: it changes when a reader of the old one would be wrong.
const SCHEMA: u32 = 1;

/// All findings as one JSON document, sorted, so that two runs on one picture are equal byte for byte.
pub fn findings_json(node: &str, in_sync: InSync, findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort();
    // Only a map with keys that are no strings fails, and there is none.
    serde_json::to_string(&Document { node, in_sync, findings: sorted }).unwrap_or_default()
}

/// A moment as RFC 3339 in UTC, in whole seconds: what `date` and jq's `fromdate` read.
pub(super) fn rfc3339(time: SystemTime) -> Option<String> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    time.format(&Rfc3339).ok()
}

struct Document<'a> {
    node: &'a str,
    in_sync: InSync,
    findings: Vec<&'a Finding>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Document", 4)?;
        document.serialize_field("schema", &SCHEMA)?;
        document.serialize_field("node", self.node)?;
        document.serialize_field("in_sync", &Sides(self.in_sync))?;
        document
            .serialize_field("findings", &self.findings.iter().map(|finding| Named(finding)).collect::<Vec<_>>())?;
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

struct Named<'a>(&'a Finding);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Destructured, so that a field that is added must be thought of here.
        let Finding { metric, labels, subject, host, since, detail, expected, actual, action } = self.0;
        let mut finding = serializer.serialize_struct("Finding", 9)?;
        finding.serialize_field("metric", metric.name())?;
        finding.serialize_field("labels", &Labels(labels))?;
        finding.serialize_field("subject", subject)?;
        finding.serialize_field("host", &host.as_deref())?;
        finding.serialize_field("since", &since.and_then(rfc3339))?;
        finding.serialize_field("detail", detail)?;
        finding.serialize_field("expected", expected)?;
        finding.serialize_field("actual", actual)?;
        finding.serialize_field("action", action)?;
        finding.end()
    }
}

struct Labels<'a>(&'a crate::audit::Labels);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut labels = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            labels.serialize_entry(name, value)?;
        }
        labels.end()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use super::*;
    use crate::audit::Metric;

    const IN_SYNC: InSync = InSync { datastore: true, kernel: false };

    #[test]
    fn fields_are_those_of_the_contract_in_its_order() {
        let mut finding = Finding::new(
            Metric::RouteFaults,
            vec![("class", Cow::Borrowed("remote_block")), ("reason", Cow::Borrowed("missing"))],
            "10.204.1.64/26",
        )
        .host(Some("h1".into()))
        .detail("no \"route\"\n")
        .expected("via 172.16.0.2", "none")
        .action("look at BIRD");
        finding.since = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900));
        assert_eq!(
            findings_json("h1", IN_SYNC, &[finding]),
            r#"{"schema":1,"node":"h1","in_sync":{"datastore":true,"kernel":false},"findings":[{"metric":"calico_route_faults","labels":{"class":"remote_block","reason":"missing"},"subject":"10.204.1.64/26","host":"h1","since":"2023-11-14T22:13:20Z","detail":"no \"route\"\n","expected":"via 172.16.0.2","actual":"none","action":"look at BIRD"}]}"#
        );
    }

    #[test]
    fn order_does_not_depend_on_how_they_were_found() {
        let one = Finding::of_reason(Metric::InvalidBlocks, "overlap", "10.0.0.0/26");
        let other = Finding::of_reason(Metric::MismatchedAddresses, "neither", "10.0.0.1");
        let json = findings_json("h1", IN_SYNC, &[one.clone(), other.clone()]);
        assert_eq!(json, findings_json("h1", IN_SYNC, &[other, one]));
        assert!(json.contains(r#""host":null,"since":null,"#), "{json}");
    }

    #[test]
    fn nothing_is_an_empty_list() {
        assert!(findings_json("h1", IN_SYNC, &[]).ends_with(r#""findings":[]}"#));
    }
}
