//! The programs that the lab is made of.

use std::path::{Path, PathBuf};
use std::process::Command;

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Alertmanager, which Debian calls otherwise.
pub(crate) fn alertmanager() -> Option<PathBuf> {
    find("alertmanager").or_else(|| find("prometheus-alertmanager"))
}

/// What the lab lacks here.
pub(crate) fn missing() -> Option<String> {
    let mut missing: Vec<&str> = ["unshare", "nsenter", "ip", "etcd", "bird", "birdc", "prometheus", "openssl"]
        .into_iter()
        .filter(|name| find(name).is_none())
        .collect();
    if alertmanager().is_none() {
        missing.push("alertmanager");
    }
    if !Path::new("/dev/net/tun").exists() {
        missing.push("/dev/net/tun");
    }
    if !missing.is_empty() {
        return Some(format!("missing: {}", missing.join(", ")));
    }
    let version = Command::new("bird").arg("--version").output().ok()?;
    let words = [version.stdout, version.stderr].concat();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    (!words.contains("version 2.")).then(|| format!("BIRD 2 is wanted (Debian's package bird2), this is: {words}"))
}
