//! The page at `/`: plain HTML made here, without scripts and without anything from elsewhere.

use std::fmt::{self, Display, Write};

use super::findings::rfc3339;
use crate::audit::Finding;
use crate::metrics::{Build, Published, SourceStatus};

/// Nothing may run and nothing be loaded, whatever a name from the datastore holds.
pub(super) const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// More findings than this are counted only: the whole list is a link away.
const MAX_FINDINGS: usize = 100;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;\
    border-bottom:1px solid #8884}td{overflow-wrap:anywhere}code{font-size:.9em}.bad{color:#b3261e}.good{color:#1b7f3b}\
    @media(prefers-color-scheme:dark){body{background:#151718;color:#e8e8e8}a{color:#8ab4f8}\
    .bad{color:#ff8a80}.good{color:#81c995}}";

/// The page.
pub(super) fn landing(published: &Published, telemetry_path: &str) -> String {
    let mut out = String::with_capacity(8 * 1024);
    // Writing to a string does not fail.
    let _ = write(&mut out, published, telemetry_path);
    out
}

fn write(out: &mut String, published: &Published, telemetry_path: &str) -> fmt::Result {
    let Build { version, revision, .. } = Build::THIS;
    let node = Html(&published.node);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>calico-exporter on {node}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>calico-exporter on {node}</h1>\n\
         <p>Compares what Calico's datastore intends with what this host's kernel routes. Version {version} ({revision}).</p>\n\
         <p><a href=\"{path}\">Metrics</a> · <a href=\"/api/v1/findings\">Findings as JSON</a> · \
         <a href=\"/readyz\">Readiness</a> · <a href=\"/healthz\">Health</a></p>\n",
        path = Html(telemetry_path),
    )?;
    sources(out, published)?;
    findings(out, published)?;
    out.push_str("</body>\n</html>\n");
    Ok(())
}

fn sources(out: &mut String, published: &Published) -> fmt::Result {
    out.push_str("<h2>Sources</h2>\n<table>\n<tr><th>Source<th>State<th>Last complete\n");
    for source in published.enabled() {
        let SourceStatus { name, in_sync, synced_once, why_lost, last_sync, .. } = source;
        let (class, state) = match (in_sync, synced_once) {
            (true, _) => ("good", "in sync"),
            (false, true) => ("bad", "not in sync"),
            (false, false) => ("bad", "waiting for the first time"),
        };
        write!(out, "<tr><td>{}<td class=\"{class}\">{state}", Html(name))?;
        if let Some(why) = why_lost.as_deref().filter(|_| !in_sync) {
            write!(out, ": {}", Html(why))?;
        }
        writeln!(out, "<td>{}", last_sync.and_then(rfc3339).unwrap_or_else(|| "never".to_string()))?;
    }
    out.push_str("</table>\n");
    Ok(())
}

fn findings(out: &mut String, published: &Published) -> fmt::Result {
    let findings = &published.report.findings;
    out.push_str("<h2>Findings</h2>\n");
    match (published.report_time, findings.len()) {
        (None, _) => return out.write_str("<p>Nothing has been judged yet.</p>\n"),
        (Some(time), 0) => {
            let time = rfc3339(time).unwrap_or_default();
            return writeln!(out, "<p class=\"good\">None, as of {time}.</p>");
        }
        (Some(time), count) => {
            let time = rfc3339(time).unwrap_or_default();
            writeln!(out, "<p class=\"bad\">{count}, as of {time}.</p>")?;
        }
    }
    out.push_str("<table>\n<tr><th>Series<th>Subject<th>Host<th>What is wrong\n");
    for Finding { metric, labels, subject, host, detail, .. } in findings.iter().take(MAX_FINDINGS) {
        write!(out, "<tr><td><code>{}</code>", metric.name())?;
        for (name, value) in labels {
            write!(out, " {name}={}", Html(value))?;
        }
        let host = host.as_deref().unwrap_or_default();
        writeln!(out, "<td>{}<td>{}<td>{}", Html(subject), Html(host), Html(detail))?;
    }
    out.push_str("</table>\n");
    if let Some(more) = findings.len().checked_sub(MAX_FINDINGS).filter(|more| *more > 0) {
        writeln!(out, "<p>and {more} more: <a href=\"/api/v1/findings\">all of them as JSON</a></p>")?;
    }
    Ok(())
}

/// Text inside HTML, also inside a quoted attribute.
struct Html<'a>(&'a str);

impl Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(position) = rest.find(['&', '<', '>', '"', '\'']) {
            let (plain, special) = rest.split_at(position);
            f.write_str(plain)?;
            f.write_str(match special.as_bytes().first() {
                Some(b'&') => "&amp;",
                Some(b'<') => "&lt;",
                Some(b'>') => "&gt;",
                Some(b'"') => "&quot;",
                _ => "&#39;",
            })?;
            rest = special.get(1..).unwrap_or_default();
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::audit::{Metric, Report};
    use crate::state::Side;

    const EVIL: &str = "<script>alert(\"1\")</script>'&";

    fn published(findings: usize) -> Published {
        let finding = |_| {
            Finding::new(
                Metric::LeakedAddresses,
                vec![("ippool", EVIL.into()), ("reason", "two_endpoints".into())],
                EVIL,
            )
            .host(Some(EVIL.into()))
            .detail(EVIL)
        };
        let mut etcd = SourceStatus::waiting("etcd", Side::Datastore);
        etcd.why_lost = Some(EVIL.to_string());
        Published {
            report: Arc::new(Report { findings: (0..findings).map(finding).collect(), ..Report::default() }),
            report_time: Some(SystemTime::UNIX_EPOCH),
            ..Published::starting(EVIL.into(), vec![etcd])
        }
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let page = landing(&published(1), EVIL);
        assert!(!page.contains("<script") && !page.contains("alert(\""), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;").count(), 8, "{page}");
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let page = landing(&published(MAX_FINDINGS + 7), "/metrics");
        assert_eq!(page.matches("<tr><td><code>").count(), MAX_FINDINGS);
        assert!(page.contains("and 7 more"), "{page}");
        assert!(!landing(&published(MAX_FINDINGS), "/metrics").contains("more:"));
    }

    #[test]
    fn before_the_first_report_nothing_is_claimed() {
        let page = landing(&Published::starting("h1".into(), Vec::new()), "/metrics");
        assert!(page.contains("Nothing has been judged yet") && !page.contains("None, as of"), "{page}");
    }
}
