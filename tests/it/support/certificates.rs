//! Certificates made for one test by the `openssl` command.

use std::path::{Path, PathBuf};
use std::process::Command;

use calico_exporter::source::etcd::settings::Pem;

use super::tool;

/// A CA, and a server's and a client's certificate signed by it, in a directory.
pub(crate) struct Certificates {
    dir: PathBuf,
    openssl: PathBuf,
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
/// What the server's certificate is for.
pub(crate) const SERVER: &str = "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n";
/// What a client's certificate is for.
pub(crate) const CLIENT: &str = "extendedKeyUsage=clientAuth\n";

impl Certificates {
    /// Makes them in `dir`; `None` where there is no openssl.
    pub(crate) fn make(dir: &Path) -> Option<Certificates> {
        let certificates = Certificates { dir: dir.to_owned(), openssl: tool("openssl")? };
        certificates.renew_authority();
        certificates.sign("server", SERVER, 2);
        certificates.sign("client", CLIENT, 2);
        Some(certificates)
    }

    /// Another CA in the place of this one; what it signed is not signed by the new one.
    pub(crate) fn renew_authority(&self) {
        self.run(&format!("req -x509 {NEW_KEY} -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem"));
    }

    fn run(&self, arguments: &str) {
        let output = Command::new(&self.openssl).args(arguments.split(' ')).current_dir(&self.dir).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes `NAME.pem` and `NAME.key`, or makes them anew, signed by the CA. The certificate is in force for so many
    /// days from now; with a negative number it has been out of it since then.
    pub(crate) fn sign(&self, name: &str, extensions: &str, days: i32) {
        std::fs::write(self.dir.join(format!("{name}.ext")), extensions).unwrap();
        self.run(&format!("req {NEW_KEY} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        self.run(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile {name}.ext -out {name}.pem"
        ));
    }

    /// Makes `NAME.pem` and `NAME.key` that nobody else signed.
    pub(crate) fn sign_itself(&self, name: &str, days: i32) {
        std::fs::write(self.dir.join(format!("{name}.ext")), "basicConstraints=critical,CA:TRUE\n").unwrap();
        self.run(&format!("req {NEW_KEY} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        self.run(&format!(
            "x509 -req -in {name}.csr -signkey {name}.key -days {days} -extfile {name}.ext -out {name}.pem"
        ));
    }

    pub(crate) fn path(&self, file: &str) -> String {
        self.dir.join(file).to_str().unwrap().to_owned()
    }

    pub(crate) fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.dir.join(file)).unwrap()
    }

    /// As a setting.
    pub(crate) fn pem(&self, file: &str) -> Pem {
        Pem::File { setting: "ETCD_CERT_FILE".to_owned(), path: self.dir.join(file) }
    }
}
