//! `docs/metrics.md`, made from the catalogue.

use std::fmt::Write;

use super::catalogue::{ALL, Collector, Kind, Series};

/// The page. A test compares it with the file and rewrites it with `BLESS=1`.
pub fn page() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         Made from the program's own catalogue (`src/metrics/catalogue.rs`): a test keeps this page and what is served the\n\
         same. To change it, change the catalogue and run `BLESS=1 cargo test --test it metrics`.\n\n\
         `host` is Calico's name of a node, `ippool` an IP pool's, or `no_ippool` for blocks that lie in no pool. A series of\n\
         faults counts the findings that `calico-exporter check` and `/api/v1/findings` name one by one. The series of a\n\
         collector are absent until everything that it reads has been in sync once; from then on every `reason` is there,\n\
         0 where nothing is wrong, save in series by host and for pools and devices that nothing is known of.\n",
    );
    for (collector, title, text) in [
        (Collector::Ipam, "IPAM", "`--collector.ipam`: the whole cluster's, so once per cluster."),
        (Collector::Leaks, "Leaks", "`--collector.leaks`: with the IPAM collector, at an interval of its own."),
        (Collector::Routes, "Routes", "`--collector.routes`: this host's, so on every host."),
        (
            Collector::Tunnels,
            "Tunnels",
            "`--collector.tunnels`: what is beneath this host's routes, with the routes collector.",
        ),
        (Collector::Exporter, "The exporter itself", "Always there, also while a source is away."),
    ] {
        // Writing to a string does not fail.
        let _ = write!(out, "\n## {title}\n\n{text}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
        for series in ALL.iter().filter(|series| series.collector == collector) {
            let _ =
                writeln!(out, "| `{}` | {} | {} | {} |", series.name, kind(series.kind), labels(series), series.help);
        }
    }
    out
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
        Kind::Info => "info",
    }
}

fn labels(series: &Series) -> String {
    let label = |(name, values): (&str, Vec<&str>)| {
        if values.is_empty() { format!("`{name}`") } else { format!("`{name}` = {}", values.join(", ")) }
    };
    let labels: Vec<String> = series.labels.iter().map(|known| label((known.name, (known.values)()))).collect();
    labels.join("; ")
}
