//! An API server that knows us and lets us read nothing, as one without a ClusterRoleBinding for the exporter.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use crate::network::ETCD;

/// Begins to refuse, for as long as the lab runs; returns the URL.
pub(crate) fn start() -> String {
    let listener = TcpListener::bind((ETCD[0], 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        const SAID: &str =
            r#"{"kind":"Status","code":403,"reason":"Forbidden","message":"User \"lab\" cannot do that"}"#;
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let head = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: application/json";
            let _ = write!(stream.get_mut(), "{head}\r\nContent-Length: {}\r\n\r\n{SAID}", SAID.len());
        }
    });
    url
}
