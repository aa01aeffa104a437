//! The `calico-exporter` binary.

fn main() {}
