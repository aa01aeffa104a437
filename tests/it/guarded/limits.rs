//! What strangers can do to the real program: nothing that keeps Prometheus out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{CERTIFICATE, DUMP, Guarded};
use crate::support::exporter::Exporter;

/// With hardly any file descriptors there are as few places, and a scraper has one of them at once.
#[test]
fn few_file_descriptors_are_few_places() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_calico-exporter")]).env_clear();
    let mut exporter = Exporter::spawn(command, &[&DUMP[..], &["--node.name", "h1"]].concat());
    exporter.until_ready();
    assert!(exporter.log().contains("connections=20"), "{}", exporter.log());
    // Twice as many as there are places: a newcomer may take half a second to say something, and who waits behind all of
    // them waits for each lot of them.
    let many: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(exporter.address()).unwrap()).collect();
    // Those that say nothing give way to somebody who asks.
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(exporter.get("/metrics").status, 200);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    assert!(exporter.is_running());
    drop(many);
    assert!(!exporter.log().contains("cannot accept connections"), "{}", exporter.log());
}

/// More silent connections than there are places, over TLS, each with half a handshake or none.
#[test]
fn silent_connections_keep_nobody_out() {
    let Some(guarded) = Guarded::start(CERTIFICATE) else { return };
    let silent: Vec<TcpStream> = (0..300)
        .map(|number| {
            let mut stream = TcpStream::connect(guarded.exporter().address()).unwrap();
            if number % 2 == 0 {
                stream.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
            }
            stream
        })
        .collect();
    let got = guarded.https(&[], "/metrics");
    assert_eq!(got.status, 200, "{}", got.said);
    let closed = silent.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        let mut stream = *stream;
        !matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    assert!(closed.count() >= 40, "those that were longest idle gave way");
}

/// A head of a megabyte over HTTP/2 and over HTTP/1.1.
#[test]
fn heads_have_a_size() {
    let Some(guarded) = Guarded::start(CERTIFICATE) else { return };
    std::fs::write(guarded.dir.path().join("head"), format!("X-Long: {}\n", "x".repeat(1 << 20))).unwrap();
    for version in ["--http1.1", "--http2"] {
        let got = guarded.https(&[version, "-H", "@head"], "/metrics");
        assert_ne!(got.status, 200, "{version}");
    }
    assert_eq!(guarded.https(&[], "/metrics").status, 200);
}
