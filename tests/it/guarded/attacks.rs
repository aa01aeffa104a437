//! Strangers who take all they can get, and a scraper beside them that has every answer within two seconds.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{CERTIFICATE, DUMP, Guarded};
use crate::support::exporter::Exporter;
use crate::support::http2::{Http2, settings};

/// What Prometheus is patient enough for here.
const PATIENCE: Duration = Duration::from_secs(2);

fn user(cost: u32) -> String {
    format!("basic_auth_users:\n  alice: {}\n", bcrypt::hash("right", cost).unwrap())
}

/// Says that it is over, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ten scrapes, each on a connection of its own.
fn scraped(guarded: &Guarded, words: &[&str], scheme: &str) {
    for number in 0..10 {
        let began = Instant::now();
        let got = guarded.curl(&[&["--cacert", "ca.pem"], words].concat(), &guarded.url(scheme, "/metrics"));
        let took = began.elapsed();
        assert_eq!(got.status, 200, "scrape {number}: {}", got.said);
        assert!(took < PATIENCE, "scrape {number} took {took:?}");
    }
}

/// More connections than there are places, each with an answer that its reader lets nothing of through.
#[test]
fn strangers_who_let_nothing_through_keep_nobody_out() {
    let Some(guarded) = Guarded::start(&format!("{CERTIFICATE}{}", user(4))) else { return };
    let alice = ["-u", "alice:right"];
    assert_eq!(guarded.https(&alice, "/metrics").status, 200);
    let config = settings(&guarded.dir.path().join("ca.pem"));
    let mut strangers = Vec::new();
    for _ in 0..300 {
        // Some are sent away while they come.
        let Ok(mut stranger) = Http2::connect(guarded.exporter().address(), &config, 0) else { continue };
        let _ = stranger.get("/metrics");
        strangers.push(stranger);
    }
    scraped(&guarded, &alice, "https");
}

/// Without a password: a few connections with all the streams they may have.
#[test]
fn streams_that_let_nothing_through_keep_nobody_out() {
    let Some(guarded) = Guarded::start(CERTIFICATE) else { return };
    let config = settings(&guarded.dir.path().join("ca.pem"));
    let _readers: Vec<Http2> = (0..4)
        .map(|_| {
            let mut reader = Http2::connect(guarded.exporter().address(), &config, 0).unwrap();
            for _ in 0..32 {
                reader.get("/").unwrap();
            }
            reader
        })
        .collect();
    scraped(&guarded, &[], "https");
}

/// The answer is given up, and its connection goes on.
#[test]
fn a_stream_without_progress_is_reset_and_its_connection_goes_on() {
    let Some(guarded) = Guarded::start(CERTIFICATE) else { return };
    let config = settings(&guarded.dir.path().join("ca.pem"));
    let mut readers: Vec<Http2> = (0..4)
        .map(|_| {
            let mut reader = Http2::connect(guarded.exporter().address(), &config, 0).unwrap();
            for _ in 0..12 {
                reader.get("/").unwrap();
            }
            reader
        })
        .collect();
    // All leaves of this peer are taken; who comes now has one of a stream that stalls.
    scraped(&guarded, &[], "https");
    let reader = &mut readers[0];
    let began = Instant::now();
    let mut reset = 0;
    while let Ok((kind, _)) = reader.read() {
        if kind == 3 {
            reset += 1;
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(40));
    }
    assert_eq!(reset, 1, "a stream is reset");
    let stream = reader.get("/healthz").unwrap();
    reader.allow(stream, 1000).unwrap();
    while reader.read().unwrap() != (0, stream) {}
}

/// Work that is asked for and not waited for: it takes no thread each.
#[test]
fn streams_that_are_reset_leave_no_work_behind() {
    let Some(guarded) = Guarded::start(CERTIFICATE) else { return };
    let config = settings(&guarded.dir.path().join("ca.pem"));
    let address = guarded.exporter().address();
    let over = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let Ok(mut client) = Http2::connect(address, &config, 0) else { continue };
                    for _ in 0..200 {
                        let path = "/explain?q=10.200.1.64/26";
                        let Ok(()) = client.get(path).and_then(|stream| client.reset(stream)) else { break };
                    }
                }
            });
        }
        let mut most = 0;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            most = most.max(guarded.exporter().status("Threads").parse::<u32>().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
        scraped(&guarded, &[], "https");
        most
    });
    assert!(most <= 10, "{most} threads");
}

/// Somebody guesses on hundreds of connections, over and over.
#[test]
fn guesses_keep_nobody_out_whose_password_is_remembered() {
    let Some(guarded) = Guarded::start(&user(10)) else { return };
    let alice = ["-u", "alice:right"];
    assert_eq!(guarded.http(&alice, "/metrics").status, 200);
    let address = guarded.exporter().address();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        let guess = || {
            let mut held: Vec<TcpStream> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let Ok(mut stream) = TcpStream::connect(address) else { continue };
                // alice:wrong
                let ask = b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6d3Jvbmc=\r\n\r\n";
                let _ = stream.write_all(ask);
                held.push(stream);
                if held.len() > 90 {
                    held.remove(0);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        for _ in 0..4 {
            scope.spawn(guess);
        }
        std::thread::sleep(Duration::from_secs(1));
        scraped(&guarded, &alice, "http");
        let guessed = guarded.http(&["-u", "alice:other", "-D", "-"], "/");
        assert!(matches!(guessed.status, 401 | 429), "{}", guessed.status);
    });
    let eventually = Instant::now();
    while guarded.http(&["-u", "alice:wrong"], "/").status == 429 {
        assert!(eventually.elapsed() < Duration::from_secs(30), "the queue does not empty");
    }
}

/// The queue of guesses has an end, and says when it may be tried again.
#[test]
fn too_many_guesses_are_told_when_to_come_back() {
    let Some(guarded) = Guarded::start(&user(13)) else { return };
    let got: Vec<_> = std::thread::scope(|scope| {
        let guess = || guarded.http(&["-u", "alice:wrong"], "/");
        let guesses: Vec<_> = (0..6).map(|_| scope.spawn(guess)).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    let refused: Vec<_> = got.iter().filter(|got| got.status == 429).collect();
    assert!(refused.len() >= 3, "{got:?}");
    assert!(refused.iter().all(|got| got.head.contains("retry-after: ")), "{refused:?}");
    assert!(got.iter().all(|got| matches!(got.status, 401 | 429)), "{got:?}");
}

/// A password that takes minutes to work out does not keep the program from ending.
#[test]
fn it_ends_in_time_whatever_is_being_worked_out() {
    let hash = bcrypt::hash("right", 4).unwrap().replacen("$04$", "$20$", 1);
    let Some(mut guarded) = Guarded::start(&format!("basic_auth_users:\n  alice: {hash}\n")) else { return };
    let mut stream = guarded.exporter().connect();
    // alice:wrong
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6d3Jvbmc=\r\n\r\n").unwrap();
    let before = guarded.exporter().status("Threads").parse::<u32>().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(guarded.exporter().status("Threads").parse::<u32>().unwrap() >= before);
    guarded.exporter().signal("TERM");
    let (status, took) = guarded.exporter.as_mut().unwrap().ended();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
}

/// Thousands of keys that claim one block, and two clients who ask about it without end.
#[test]
fn questions_keep_nobody_out() {
    let mut dump: serde_json::Value = serde_json::from_slice(&std::fs::read(DUMP[1]).unwrap()).unwrap();
    for number in 0..8000 {
        let key = STANDARD.encode(format!("/calico/ipam/v2/host/claims-{number}/ipv4/block/10.77.0.0-26"));
        let value = STANDARD.encode(r#"{"state":"confirmed","deleted":false}"#);
        dump["kvs"].as_array_mut().unwrap().push(serde_json::json!({"key": key, "value": value}));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), dump.to_string()).unwrap();
    let exporter = Exporter::start(&[
        "--datastore.file",
        file.path().to_str().unwrap(),
        "--node.name",
        "h1",
        "--no-collector.routes",
    ]);
    exporter.until_ready();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // It may be told that the engine is busy.
                    let status = exporter.get("/explain?q=10.77.0.0/26").status;
                    assert!(matches!(status, 200 | 503), "{status}");
                }
            });
        }
        for path in ["/metrics", "/healthz", "/readyz", "/metrics", "/healthz", "/metrics"] {
            let began = Instant::now();
            assert_eq!(exporter.get(path).status, 200, "{path}");
            assert!(began.elapsed() < PATIENCE, "{path}: {:?}", began.elapsed());
        }
    });
}
