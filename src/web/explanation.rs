//! An explanation as JSON: one form for `/api/v1/explain` and `explain --output json` (`docs/explain.md`).

use serde_json::{Map, Value, json};

use super::runbook_url;
use crate::audit::Finding;
use crate::audit::explain::{Explanation, Link};
use crate::model::printable_json;

/// The version of the form: it changes when a reader of the old one would be wrong.
const SCHEMA: u32 = 1;

/// The answer as one JSON document.
pub fn explanation_json(explained: &Explanation) -> String {
    let verdict = &explained.verdict;
    let document = json!({
        "schema": SCHEMA,
        "subject": explained.subject,
        "node": explained.node.as_deref(),
        "in_sync": {"datastore": explained.datastore_in_sync, "kernel": explained.kernel_in_sync},
        "links": explained.links.iter().map(link).collect::<Vec<_>>(),
        "left_out": explained.left_out,
        "verdict": {
            "state": verdict.state.as_str(),
            "link": verdict.link.map(|link| link.as_str()),
            "sentence": verdict.sentence,
            "cause": verdict.cause,
            "runbook": verdict.finding.as_ref().map(runbook_url),
        },
    });
    printable_json(document.to_string())
}

fn link(link: &Link) -> Value {
    json!({
        "link": link.kind.as_str(),
        "subject": link.subject,
        "state": link.state.as_str(),
        "wanted": link.wanted,
        "actual": link.actual,
        "detail": link.detail,
        "findings": link.findings.iter().map(finding).collect::<Vec<_>>(),
        "more_findings": link.more_findings,
    })
}

/// What identifies a finding (`docs/findings.md`).
fn finding(finding: &Finding) -> Value {
    let labels: Map<String, Value> =
        finding.fault.labels().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    json!({"metric": finding.metric().as_str(), "labels": labels, "subject": finding.subject, "host": finding.host.as_deref()})
}
