//! The shape of the house: the core is pure, and every import points down.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// The code of a room, without comments: file and line by line.
fn code(room: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    if src.join(room).is_dir() {
        sources(&src.join(room), &mut files);
    }
    files.extend(Some(src.join(format!("{room}.rs"))).filter(|path| path.is_file()));
    assert!(!files.is_empty(), "no room {room}");
    let lines = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let code: Vec<String> =
            text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect();
        code.into_iter().map(move |line| (path.clone(), line)).collect::<Vec<_>>()
    };
    files.into_iter().flat_map(lines).collect()
}

fn assert_never(room: &str, words: &[&str]) {
    for (path, line) in code(room) {
        for word in words {
            assert!(!line.contains(word), "{}: {word} in: {}", path.display(), line.trim());
        }
    }
}

#[test]
fn the_core_knows_no_tokio_no_etcd_no_netlink_no_clock_and_no_log() {
    let impure = [
        "tokio",
        "etcd_client",
        "rtnetlink",
        "std::net::Tcp",
        "std::fs",
        "std::io",
        "std::env",
        "Instant::now",
        "SystemTime::now",
        "tracing",
        "println!",
        "prometheus_client",
        "hyper",
    ];
    for room in ["model", "state", "audit"] {
        assert_never(room, &impure);
    }
}

#[test]
fn every_import_points_down() {
    // Each room with the rooms above it, which it must not know.
    let house = [
        ("model", &["state", "audit", "metrics", "web", "source", "engine", "command", "config", "cli"][..]),
        ("state", &["audit", "metrics", "web", "source", "engine", "command", "config", "cli"]),
        ("audit", &["metrics", "web", "source", "engine", "command", "config", "cli"]),
        ("source", &["audit", "metrics", "web", "engine", "command", "config", "cli"]),
        ("metrics", &["web", "source", "engine", "command", "config", "cli"]),
        ("web", &["source", "command", "config", "cli"]),
        ("engine", &["source", "command", "config", "cli"]),
    ];
    for (room, above) in house {
        let words: Vec<String> = above.iter().map(|it| format!("crate::{it}")).collect();
        assert_never(room, &words.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
