//! The static program in a root directory that holds nothing else: it resolves etcd's name by the file `hosts` and by
//! DNS, and speaks TLS.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use etcd_client::{Certificate, ConnectOptions, TlsOptions};

use crate::support::calico::pool;
use crate::support::certificates::{Certificates, SERVER};
use crate::support::etcd::Etcd;
use crate::support::netns::in_namespace;

const BY_FILE: &str = "etcd.by-file.example";
const BY_DNS: &str = "etcd.by-dns.example";

/// Answers every question for [`BY_DNS`] with 127.0.0.1, and all others with "no such name" (RFC 1035, 4).
fn name_server() {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let question = &query[12..length];
            let name_length = question.iter().position(|byte| *byte == 0).unwrap();
            let labels: Vec<u8> =
                BY_DNS.split('.').flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes())).collect();
            let asked_for_address = question[name_length + 1..name_length + 3] == [0, 1];
            let is_ours = question[..name_length].eq_ignore_ascii_case(&labels);
            let mut answer = query[..12 + name_length + 5].to_vec();
            let found = is_ours && asked_for_address;
            answer[2..12].copy_from_slice(&[
                0x81,
                if is_ours { 0x80 } else { 0x83 },
                0,
                1,
                0,
                u8::from(found),
                0,
                0,
                0,
                0,
            ]);
            if found {
                // The name again, an address of the Internet, for a minute, four bytes.
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(Ipv4Addr::LOCALHOST.octets());
            }
            let _ = socket.send_to(&answer, client);
        }
    });
}

fn check(root: &Path, url: &str) -> Output {
    Command::new("chroot")
        .arg(root)
        .args(["/calico-exporter", "check", "--etcd.endpoints", url, "--etcd.ca-file", "/ca.pem"])
        .args(["--node.name", "h1", "--no-collector.routes"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap()
}

#[test]
#[ignore = "make ship-test: it needs the static program"]
fn the_static_program_needs_nothing_beside_it() {
    let program = PathBuf::from(std::env::var_os("CALICO_EXPORTER_STATIC").expect("the static program"));
    in_namespace(async move |namespace| {
        namespace.ip("link set lo up");
        let dir = tempfile::tempdir().unwrap();
        let Some(certificates) = Certificates::make(dir.path()) else { return };
        certificates.sign("server", &SERVER.replace("DNS:localhost", &format!("DNS:{BY_FILE},DNS:{BY_DNS}")), 2);
        let files = [("--cert-file", "server.pem"), ("--key-file", "server.key")];
        let arguments = files.iter().flat_map(|(flag, file)| [(*flag).to_owned(), certificates.path(file)]).collect();
        let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(certificates.read("ca.pem")));
        let Some(etcd) = Etcd::start_with(arguments, ConnectOptions::new().with_tls(tls)).await else { return };
        let (key, value) = pool("main", "10.65.0.0/16", 26, "Always", "Never");
        etcd.put(&key, &value).await;
        name_server();

        let root = tempfile::tempdir().unwrap();
        let copy = |from: &Path, to: &str| std::fs::copy(from, root.path().join(to)).unwrap();
        copy(&program, "calico-exporter");
        copy(Path::new(&certificates.path("ca.pem")), "ca.pem");
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/hosts"), format!("127.0.0.1 {BY_FILE}\n")).unwrap();
        std::fs::write(root.path().join("etc/resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
        for name in [BY_FILE, BY_DNS] {
            let output = check(root.path(), &format!("https://{name}:{}", etcd.port()));
            assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        }
        let nobody = check(root.path(), &format!("https://nobody.example:{}", etcd.port()));
        let said = String::from_utf8(nobody.stderr).unwrap();
        assert!(nobody.status.code() == Some(2) && said.contains("nobody.example"), "{said}");
        let version = Command::new("chroot").arg(root.path()).args(["/calico-exporter", "--version"]).output().unwrap();
        let said = String::from_utf8(version.stdout).unwrap();
        assert!(said.contains("static") && said.contains("release") && !said.contains("unknown"), "{said}");
    });
}
