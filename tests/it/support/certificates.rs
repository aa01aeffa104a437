//! Certificates made for one test by the `openssl` command.

use std::path::{Path, PathBuf};
use std::process::Command;

use calico_exporter::source::etcd::settings::Pem;

use super::tool;

/// A CA, and a server's and a client's certificate signed by it, in a directory.
pub(crate) struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Makes them in `dir`; `None` where there is no openssl.
    pub(crate) fn make(dir: &Path) -> Option<Certificates> {
        let openssl = tool("openssl")?;
        let run = |arguments: &str| {
            let output = Command::new(&openssl).args(arguments.split(' ')).current_dir(dir).output().unwrap();
            assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        run(&format!("req -x509 {key} -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem"));
        for (name, extensions) in [
            ("server", "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n"),
            ("client", "extendedKeyUsage=clientAuth\n"),
        ] {
            std::fs::write(dir.join(format!("{name}.ext")), extensions).unwrap();
            run(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
            run(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
            ));
        }
        Some(Certificates { dir: dir.to_owned() })
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
