use super::*;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

fn environment(variables: &[(&str, &str)]) -> Result<Settings, String> {
    let find = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
    Settings::from_environment(&find).map_err(|error| error.to_string())
}

fn calicoctl(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calicoctl.cfg");
    std::fs::write(&path, text).unwrap();
    Settings::from_calicoctl(&path)
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "calicoctl.cfg"))
}

fn spec(lines: &str) -> Result<Settings, String> {
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    calicoctl(&format!("apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n{lines}"))
}

fn plain(endpoint: &str) -> Settings {
    Settings { endpoints: vec![endpoint.to_owned()], credentials: None, tls: Tls::default() }
}

#[test]
fn variables_with_calicos_prefix_come_first() {
    assert_eq!(environment(&[("ETCD_ENDPOINTS", "http://a:1")]), Ok(plain("http://a:1")));
    let both = [("ETCD_ENDPOINTS", "http://a:1"), ("CALICO_ETCD_ENDPOINTS", "http://b:1")];
    assert_eq!(environment(&both), Ok(plain("http://b:1")));
}

#[test]
fn the_environment_gives_everything_that_calico_takes() {
    let settings = environment(&[
        ("DATASTORE_TYPE", "etcdv3"),
        ("ETCD_ENDPOINTS", " https://etcd1:2379, https://[fd00::1]:2379/ ,"),
        ("ETCD_USERNAME", "reader"),
        ("CALICO_ETCD_PASSWORD", "secret"),
        ("ETCD_CA_CERT_FILE", "/ca.pem"),
        ("ETCD_CERT_FILE", "/cert.pem"),
        ("ETCD_KEY_FILE", "/key.pem"),
        ("ETCD_DISCOVERY_SRV", ""),
    ])
    .unwrap();
    assert_eq!(settings.endpoints, ["https://etcd1:2379", "https://[fd00::1]:2379"]);
    assert_eq!(settings.credentials, Credentials::new("reader".into(), "secret".into()));
    let file = |setting: &str, path: &str| Pem::File { setting: setting.to_owned(), path: path.into() };
    let identity = Identity { cert: file("ETCD_CERT_FILE", "/cert.pem"), key: file("ETCD_KEY_FILE", "/key.pem") };
    assert_eq!(settings.tls, Tls { ca: Some(file("ETCD_CA_CERT_FILE", "/ca.pem")), identity: Some(identity) });
}

#[test]
fn a_name_counts_only_with_a_password() {
    for (name, password) in [("reader", ""), ("", "secret"), ("", "")] {
        let variables = [("ETCD_ENDPOINTS", "http://a:1"), ("ETCD_USERNAME", name), ("ETCD_PASSWORD", password)];
        assert_eq!(environment(&variables), Ok(plain("http://a:1")));
    }
}

#[test]
fn what_is_wrong_in_the_environment_is_named() {
    let ends = ("ETCD_ENDPOINTS", "https://a:1");
    let no_endpoint = "is no endpoint; write http://HOST:PORT or https://HOST:PORT";
    for (variables, message) in [
        (
            &[][..],
            "ETCD_ENDPOINTS: not set; list etcd's endpoints, e.g. https://10.0.0.1:2379,https://10.0.0.2:2379".to_owned(),
        ),
        (&[("ETCD_ENDPOINTS", "http://a:1,a:2379")], format!("ETCD_ENDPOINTS: \"a:2379\" {no_endpoint}")),
        (&[("CALICO_ETCD_ENDPOINTS", "ftp://a:1")], format!("CALICO_ETCD_ENDPOINTS: \"ftp://a:1\" {no_endpoint}")),
        (&[("ETCD_ENDPOINTS", "https://a")], format!("ETCD_ENDPOINTS: \"https://a\" {no_endpoint}")),
        (&[("ETCD_ENDPOINTS", "https://a:1/v3")], format!("ETCD_ENDPOINTS: \"https://a:1/v3\" {no_endpoint}")),
        (&[("ETCD_ENDPOINTS", "https://u:secret@a:1")], format!("ETCD_ENDPOINTS: \"…@a:1\" {no_endpoint}")),
        (
            &[ends, ("ETCD_DISCOVERY_SRV", "example.org")],
            "ETCD_DISCOVERY_SRV: \"example.org\": discovery is not supported; list the endpoints in ETCD_ENDPOINTS".to_owned(),
        ),
        (
            &[ends, ("ETCD_CERT_FILE", "/c")],
            "ETCD_KEY_FILE: not set, though ETCD_CERT_FILE is; set both or neither".to_owned(),
        ),
        (
            &[ends, ("ETCD_KEY_FILE", "/k")],
            "ETCD_CERT_FILE: not set, though ETCD_KEY_FILE is; set both or neither".to_owned(),
        ),
        (
            &[ends, ("DATASTORE_TYPE", "kubernetes")],
            "DATASTORE_TYPE: kubernetes: this exporter reads etcd; set etcdv3, or point it to a cluster whose datastore is etcd".to_owned(),
        ),
        (&[ends, ("DATASTORE_TYPE", "consul")], "DATASTORE_TYPE: \"consul\" is no datastore of Calico's; set etcdv3".to_owned()),
    ] {
        assert_eq!(environment(variables), Err(message), "{variables:?}");
    }
}

#[test]
fn a_calicoctl_cfg_is_read() {
    let files = "datastoreType: etcdv3\netcdEndpoints: https://etcd1:2379,https://etcd2:2379\netcdKeyFile: /key.pem\netcdCertFile: /cert.pem\netcdCACertFile: /ca.pem\netcdUsername: u\netcdPassword: p\nkubeconfig: /root/.kube/config\nk8sInsecureSkipTLSVerify: true\netcdDiscoverySrv:";
    let settings = spec(files).unwrap();
    assert_eq!(settings.endpoints.len(), 2);
    assert_eq!(settings.credentials, Credentials::new("u".into(), "p".into()));
    assert!(matches!(settings.tls.ca, Some(Pem::File { path, .. }) if path == Path::new("/ca.pem")));
    assert!(settings.tls.identity.is_some());
    let pem = format!("|\n  {}", PEM.replace('\n', "\n  "));
    let inline =
        spec(&format!("etcdEndpoints: https://a:1\netcdKey: {pem}\netcdCert: {pem}\netcdCACert: {pem}")).unwrap();
    assert_eq!(inline.tls.ca, Some(Pem::Inline(PEM.into())));
    assert_eq!(inline.tls.identity.unwrap().key.read().unwrap(), PEM.as_bytes());
}

#[test]
fn what_is_wrong_in_a_calicoctl_cfg_is_named() {
    let ends = "etcdEndpoints: https://a:1";
    for (lines, message) in [
        (
            "datastoreType: etcdv3".to_owned(),
            ": spec.etcdEndpoints: not set; list etcd's endpoints, e.g. https://10.0.0.1:2379,https://10.0.0.2:2379",
        ),
        (
            "datastoreType: kubernetes".to_owned(),
            ": spec.datastoreType: kubernetes: this exporter reads etcd; set etcdv3, or point it to a cluster whose datastore is etcd",
        ),
        ("etcdEndpoint: https://a:1".to_owned(), ": spec.etcdEndpoint: unknown key; did you mean etcdEndpoints?"),
        ("etcdCaCertFile: /ca".to_owned(), ": spec.etcdCaCertFile: unknown key; did you mean etcdCACertFile?"),
        ("colour: red".to_owned(), ": spec.colour: unknown key; see calicoctl's documentation for the keys"),
        ("7: red".to_owned(), ": spec.7: unknown key; see calicoctl's documentation for the keys"),
        (format!("{ends}\netcdPassword: 123456"), ": spec.etcdPassword: the value is no text; put it in quotes"),
        ("etcdEndpoints: [a]".to_owned(), ": spec.etcdEndpoints: the value is no text; put it in quotes"),
        (
            format!("{ends}\netcdCACert: /ca.pem"),
            ": spec.etcdCACert: no PEM block (-----BEGIN …) in it; to name a file, use the key that ends in File",
        ),
        (
            format!("{ends}\netcdDiscoverySrv: x.org"),
            ": spec.etcdDiscoverySrv: \"x.org\": discovery is not supported; list the endpoints in calicoctl.cfg: spec.etcdEndpoints",
        ),
        (
            format!("{ends}\netcdCACertFile: /ca\netcdKey: k"),
            ": spec.etcdKey: certificates are given inline here and as files in calicoctl.cfg: spec.etcdCACertFile; use one of the two",
        ),
        (
            format!("{ends}\netcdCert: k"),
            ": spec.etcdKey: not set, though calicoctl.cfg: spec.etcdCert is; set both or neither",
        ),
    ] {
        assert_eq!(spec(&lines), Err(format!("calicoctl.cfg{message}")), "{lines}");
    }
    for (text, message) in [
        ("", ": no object; expected apiVersion, kind, metadata and spec"),
        ("kind: CalicoAPIConfig", ": apiVersion: missing; expected projectcalico.org/v3"),
        ("apiVersion: v1\nkind: CalicoAPIConfig", ": apiVersion: v1, expected projectcalico.org/v3"),
        ("apiVersion: projectcalico.org/v3\nkind: 5", ": kind: 5, expected CalicoAPIConfig"),
        (
            "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec: x",
            ": spec: no object; expected keys such as etcdEndpoints",
        ),
        (
            "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspecs: {}",
            ": specs: unknown key; expected apiVersion, kind, metadata and spec",
        ),
    ] {
        assert_eq!(calicoctl(text), Err(format!("calicoctl.cfg{message}")), "{text}");
    }
    assert!(calicoctl("a: [").unwrap_err().starts_with("calicoctl.cfg: no YAML: "));
    assert!(calicoctl("a: 1\na: 2").unwrap_err().starts_with("calicoctl.cfg: no YAML: duplicate"));
    let missing = Settings::from_calicoctl(Path::new("/nowhere/calicoctl.cfg")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/calicoctl.cfg: No such file"), "{missing}");
}

#[test]
fn a_pem_file_is_read_when_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let pem = Pem::File { setting: "ETCD_CA_CERT_FILE".to_owned(), path: path.clone() };
    let error = pem.read().unwrap_err().to_string();
    assert!(error.starts_with(&format!("ETCD_CA_CERT_FILE: {}: No such file", path.display())), "{error}");
    std::fs::write(&path, "nothing").unwrap();
    assert!(pem.read().unwrap_err().to_string().ends_with("ca.pem: no PEM block (-----BEGIN …) in it"));
    std::fs::write(&path, PEM).unwrap();
    assert_eq!(pem.read().unwrap(), PEM.as_bytes());
}

#[test]
fn secrets_are_not_printed() {
    let settings = Settings {
        credentials: Credentials::new("reader".into(), "hunter2".into()),
        tls: Tls { ca: Some(Pem::Inline(PEM.into())), identity: None },
        ..plain("https://a:1")
    };
    let printed = format!("{settings:?}");
    assert!(printed.contains("reader") && !printed.contains("hunter2") && !printed.contains("MIIB"), "{printed}");
}
