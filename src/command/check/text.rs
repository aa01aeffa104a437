//! A report for people: causes first, then what no cause explains, series by series; most important first.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::printable;
use super::terminal::Terminal;
use crate::audit::{Cause, Counts, Finding, Limit, Report, Severity, limits, natural};
use crate::config::Sources;
use crate::model::rfc3339;
use crate::web::{runbook_of, runbook_url};

/// Rows of a list, where all of them are not asked for.
const ROWS: usize = 5;
/// The column of what is said about a thing.
const INDENT: usize = 10;

/// What is written, and how.
pub(super) struct Text<'a> {
    pub(super) node: &'a str,
    pub(super) sources: &'a Sources,
    pub(super) report: &'a Report,
    pub(super) terminal: Terminal,
    /// Every row of every list.
    pub(super) all: bool,
}

fn plural(count: usize) -> String {
    format!("{count} finding{}", if count == 1 { "" } else { "s" })
}

impl Text<'_> {
    /// The whole of it.
    pub(super) fn write(&self) -> String {
        let what = match (self.sources.collectors.ipam, self.sources.collectors.routes) {
            (true, true) => format!("the cluster's IPAM and the routes of {}", self.node),
            (true, false) => "the cluster's IPAM".to_owned(),
            (false, _) => format!("the routes of {}", self.node),
        };
        let near = self.report.ipam.as_ref().map(limits).unwrap_or_default();
        let counts = Counts::of(self.report);
        let mut text = String::new();
        match (self.report.findings.is_empty(), near.is_empty()) {
            (true, true) => drop(writeln!(text, "{what}: nothing is wrong")),
            (true, false) => {
                let _ = writeln!(text, "{what}: no fault, and something is nearly used up");
            }
            (false, _) => {
                let causes = self.report.causes.len();
                let behind = match causes {
                    0 => String::new(),
                    1 => ", 1 cause".to_owned(),
                    several => format!(", {several} causes"),
                };
                let _ = writeln!(text, "{}", self.terminal.bold(&counts.to_string()));
                let head = format!("{what}: {}{behind}", plural(self.report.findings.len()));
                text.push_str(&self.terminal.wrapped("", 0, &printable(&head)));
            }
        }
        for note in &self.report.notes {
            text.push_str(&self.terminal.wrapped("", 0, &printable(&note.to_string())));
        }
        self.causes(&mut text);
        self.groups(&mut text);
        self.limits(&mut text, &near);
        text.push('\n');
        text.push_str(&self.terminal.wrapped(&self.terminal.faint("not seen: "), INDENT, &self.unseen()));
        if !self.report.findings.is_empty() {
            let _ = writeln!(text, "\n{}", self.terminal.bold(&counts.to_string()));
        }
        text
    }

    /// `critical  what`, what comes below it standing in its column.
    fn head(&self, text: &mut String, severity: Severity, what: &str) {
        let pad = " ".repeat(INDENT.saturating_sub(severity.as_str().len()));
        let first = format!("\n{}{pad}", self.terminal.severity(severity));
        text.push_str(&self.terminal.wrapped(&first, INDENT, &printable(what)));
    }

    fn line(&self, text: &mut String, name: &str, words: &str) {
        let first = format!("{name:>width$}  ", width = INDENT - 2);
        text.push_str(&self.terminal.wrapped(&first, INDENT, &printable(words)));
    }

    /// Causes of one kind stand together: the first in full, of others a line each.
    fn causes(&self, text: &mut String) {
        let mut causes: Vec<&Cause> = self.report.causes.iter().collect();
        causes.sort_by_key(|cause| (cause.severity, cause.kind));
        for alike in causes.chunk_by(|a, b| a.kind == b.kind && a.severity == b.severity) {
            let Some((first, others)) = alike.split_first() else { continue };
            self.head(text, first.severity, &first.detail);
            for shown in &first.evidence {
                self.line(text, "", shown);
            }
            if let Some(since) = first.since.and_then(rfc3339) {
                self.line(text, "since", &since);
            }
            self.line(text, "do", &first.action);
            self.line(text, "runbook", &runbook_of(first.kind.alert()));
            self.explained(text, first);
            let shown = if self.all { others.len() } else { others.len().min(ROWS - 1) };
            for cause in &others[..shown] {
                let evidence = cause.evidence.join("; ");
                self.line(text, "also", &format!("{}: {evidence} ({})", cause.subject, plural(cause.findings.len())));
                if self.all {
                    self.explained(text, cause);
                }
            }
            self.more(text, others.len() - shown);
        }
    }

    /// The findings of a cause: how many of each series, and with `--all` each of them.
    fn explained(&self, text: &mut String, cause: &Cause) {
        let findings: Vec<&Finding> = cause.findings.iter().filter_map(|at| self.report.findings.get(*at)).collect();
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        for finding in &findings {
            *counted.entry(finding.series()).or_default() += 1;
        }
        let more = counted.len().saturating_sub(ROWS);
        for (index, (series, count)) in counted.into_iter().take(ROWS).enumerate() {
            // Not wrapped: it is copied, and searched for.
            let name = if index == 0 { "explains" } else { "" };
            let _ = writeln!(text, "{name:>width$}  {} {count}", printable(&series), width = INDENT - 2);
        }
        // What explains one finding alone is no shorter than the finding.
        if self.all || findings.len() == 1 {
            for finding in findings {
                self.row(text, finding);
            }
        } else {
            self.more(text, more);
        }
    }

    /// What no cause explains.
    fn groups(&self, text: &mut String) {
        let mut findings: Vec<&Finding> = self.report.unexplained().collect();
        // The order of series stays; the rows of one are in the order in which people count.
        findings.sort_by(|a, b| {
            let by_series = (a.severity(), &a.fault).cmp(&(b.severity(), &b.fault));
            by_series.then_with(|| natural(&a.subject, &b.subject))
        });
        for group in findings.chunk_by(|a, b| a.fault == b.fault) {
            let first = group[0];
            let pad = INDENT - first.severity().as_str().len();
            let (severity, series) = (self.terminal.severity(first.severity()), printable(&first.series()));
            let _ = writeln!(text, "\n{severity}{:pad$}{series} {}", "", group.len());
            let shown = if self.all { group.len() } else { group.len().min(ROWS) };
            for finding in &group[..shown] {
                self.row(text, finding);
            }
            self.more(text, group.len() - shown);
            if !first.action.is_empty() {
                self.line(text, "do", &first.action);
            }
            self.line(text, "runbook", &runbook_url(first));
        }
    }

    fn row(&self, text: &mut String, finding: &Finding) {
        let host = finding.host.as_ref().filter(|host| ***host != *finding.subject);
        let host = host.map(|host| format!("  ({host})")).unwrap_or_default();
        let _ =
            writeln!(text, "{:INDENT$}{}", "", self.terminal.bold(&printable(&format!("{}{host}", finding.subject))));
        let below = [("", &finding.detail), ("expected: ", &finding.expected), ("actual:   ", &finding.actual)];
        for (name, words) in below.into_iter().filter(|(_, words)| !words.is_empty()) {
            let first = format!("{:width$}{name}", "", width = INDENT + 2);
            let indent = INDENT + 2 + name.len();
            text.push_str(&self.terminal.wrapped(&first, indent, &printable(words)));
        }
    }

    fn more(&self, text: &mut String, more: usize) {
        if more > 0 {
            let _ = writeln!(text, "{:INDENT$}… and {more} more (--all)", "");
        }
    }

    /// Bounds of alerts that stand.
    fn limits(&self, text: &mut String, near: &[Limit]) {
        let shown = if self.all { near.len() } else { near.len().min(ROWS) };
        for limit in &near[..shown] {
            self.head(text, limit.severity, &limit.detail);
            self.line(text, "runbook", &runbook_of(limit.alert));
        }
        if near.len() > shown {
            text.push('\n');
            self.more(text, near.len() - shown);
        }
    }

    /// What a look of this kind never shows.
    fn unseen(&self) -> String {
        let collectors = &self.sources.collectors;
        let mut unseen = Vec::new();
        if !collectors.ipam {
            unseen.push("the cluster's IPAM");
        } else if !self.report.leaks {
            unseen.push("leaked addresses and handles");
        }
        if !collectors.routes {
            unseen.push("the routes of this host");
        } else if self.report.tunnels.is_none() {
            unseen.push("neighbours, forwarding entries and policy rules of this host");
        }
        unseen.extend(["the kernels of other hosts", "BGP sessions", "network policy", "whether packets arrive"]);
        unseen.join(", ")
    }
}
