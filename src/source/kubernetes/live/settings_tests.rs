use std::collections::HashMap;
use std::fs;

use super::*;

const CONFIG: &str = r#"
apiVersion: v1
kind: Config
current-context: b
clusters:
- {name: one, cluster: {server: "https://one:6443", certificate-authority: ca.pem}}
- {name: two, cluster: {server: "https://two:6443/path/", insecure-skip-tls-verify: true, tls-server-name: api}}
users:
- {name: token, user: {token: s3cret}}
- {name: file, user: {tokenFile: token}}
- {name: cert, user: {client-certificate: c.pem, client-key-data: LS0tLS1CRUdJTiBLRVktLS0tLQ==}}
- {name: basic, user: {username: me, password: s3cret}}
- {name: cloud, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./get, args: [token], env: [{name: A, value: s3cret}]}}}
contexts:
- {name: a, context: {cluster: one, user: token}}
- {name: b, context: {cluster: two, user: file}}
- {name: c, context: {cluster: one, user: cert}}
- {name: d, context: {cluster: one, user: basic}}
- {name: e, context: {cluster: one, user: cloud}}
- {name: f, context: {cluster: one}}
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("config", CONFIG);
        folder
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).display().to_string()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.path().join(file), text).unwrap();
    }

    fn settings(&self, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let known: HashMap<&str, String> =
            variables.iter().map(|(name, value)| (*name, value.replace("%/", &self.path("")))).collect();
        Settings::from_environment(&|name| known.get(name).cloned()).map_err(|error| error.to_string())
    }
}

#[test]
fn the_current_context_says_where_and_who() {
    let folder = Folder::new();
    let settings = folder.settings(&[("KUBECONFIG", "%/config")]).unwrap();
    assert_eq!(settings.server.to_string(), "https://two:6443/path");
    assert!(settings.tls.insecure);
    assert_eq!(settings.tls.server_name.as_deref(), Some("api"));
    assert_eq!(settings.user, User::TokenFile(folder.path("token").into()), "beside the kubeconfig");
}

#[test]
fn a_context_can_be_told_and_every_kind_of_user_is_known() {
    let folder = Folder::new();
    let user = |context: &str| {
        folder.settings(&[("KUBECONFIG", "%/config"), ("CALICO_K8S_CURRENT_CONTEXT", context)]).map(|it| it.user)
    };
    assert_eq!(user("a"), Ok(User::Token("s3cret".to_owned())));
    assert_eq!(user("c"), Ok(User::Certificate));
    assert_eq!(user("d"), Ok(User::Basic("me".to_owned(), "s3cret".to_owned())));
    assert_eq!(user("f"), Ok(User::Certificate));
    let Ok(User::Exec(exec)) = user("e") else { panic!("{:?}", user("e")) };
    assert_eq!((exec.command, exec.arguments), (folder.path("get").into(), vec!["token".to_owned()]));
    let error = user("g").unwrap_err();
    assert!(error.contains("CALICO_K8S_CURRENT_CONTEXT") && error.contains("\"g\""), "{error}");
}

#[test]
fn no_secret_is_ever_shown() {
    let folder = Folder::new();
    for context in ["a", "d", "e"] {
        let settings = folder.settings(&[("KUBECONFIG", "%/config"), ("K8S_CURRENT_CONTEXT", context)]).unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    }
    for broken in ["users: s3cret", "current-context: [s3cret", "users:\n- {name: u, user: {token: [s3cret]}}"] {
        folder.write("broken", broken);
        let error = folder.settings(&[("KUBECONFIG", "%/broken")]).unwrap_err();
        assert!(error.contains("broken") && !error.contains("s3cret"), "{error}");
    }
    let error = folder.settings(&[("K8S_API_ENDPOINT", "https://me:s3cret@host:1")]).unwrap_err();
    assert!(error.contains("host:1") && !error.contains("s3cret"), "{error}");
}

#[test]
fn of_several_kubeconfigs_the_first_that_names_a_thing_counts() {
    let folder = Folder::new();
    folder.write("over", "current-context: a\nclusters:\n- {name: one, cluster: {server: 'https://other:1'}}\n");
    let settings = folder.settings(&[("KUBECONFIG", "%/nowhere:%/over:%/config")]).unwrap();
    assert_eq!(settings.server.to_string(), "https://other:1/");
    assert_eq!(settings.user, User::Token("s3cret".to_owned()));
    let error = folder.settings(&[("KUBECONFIG", "%/nowhere")]).unwrap_err();
    assert!(error.contains("nowhere") && error.contains("KUBECONFIG"), "{error}");
}

#[test]
fn variables_lie_over_a_kubeconfig() {
    let folder = Folder::new();
    let settings = folder
        .settings(&[
            ("KUBECONFIG", "%/config"),
            ("K8S_API_ENDPOINT", "https://elsewhere:1"),
            ("CALICO_K8S_CA_FILE", "/ca"),
            ("K8S_CERT_FILE", "/c"),
            ("K8S_KEY_FILE", "/k"),
            ("K8S_INSECURE_SKIP_TLS_VERIFY", "False"),
        ])
        .unwrap();
    assert_eq!(settings.server.host(), Some("elsewhere"));
    assert!(!settings.tls.insecure);
    let Some(Pem::File { path, setting }) = settings.tls.ca else { panic!() };
    assert_eq!((path.to_str(), &*setting), (Some("/ca"), "CALICO_K8S_CA_FILE"));
    assert!(settings.tls.identity.is_some());
    for (variables, named) in [
        (&[("K8S_API_ENDPOINT", "https://a:1"), ("K8S_CERT_FILE", "/c")][..], "K8S_KEY_FILE"),
        (&[("K8S_API_ENDPOINT", "ftp://a")], "ftp://a"),
        (&[("K8S_API_ENDPOINT", "https://a:1"), ("K8S_INSECURE_SKIP_TLS_VERIFY", "maybe")], "maybe"),
        (&[], "K8S_API_ENDPOINT"),
    ] {
        let error = folder.settings(variables).unwrap_err();
        assert!(error.contains(named) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn where_nothing_is_given_it_is_the_home_folder_or_the_pods_own_account() {
    let folder = Folder::new();
    let pod = [("KUBERNETES_SERVICE_HOST", "fd00::1"), ("KUBERNETES_SERVICE_PORT", "443"), ("HOME", "%/")];
    let settings = folder.settings(&pod).unwrap();
    assert_eq!(settings.server.to_string(), "https://[fd00::1]:443/");
    assert_eq!(settings.user, User::TokenFile(format!("{SERVICE_ACCOUNT}/token").into()));
    assert!(settings.tls.ca.is_some());
    fs::create_dir(folder.0.path().join(".kube")).unwrap();
    folder.write(".kube/config", CONFIG);
    assert_eq!(folder.settings(&pod).unwrap().server.host(), Some("two"), "as Calico decides");
    let told = folder.settings(&[pod[0], pod[1], pod[2], ("K8S_API_ENDPOINT", "http://localhost:8001")]).unwrap();
    assert_eq!(told.server.to_string(), "http://localhost:8001/");
}

#[test]
fn a_calicoctl_cfg_says_the_same_and_two_things_more() {
    let folder = Folder::new();
    let file = |spec: &str| {
        folder
            .write("calicoctl.cfg", &format!("apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec:\n{spec}"));
        Settings::from_calicoctl(Path::new(&folder.path("calicoctl.cfg")), &|_| None).map_err(|it| it.to_string())
    };
    let settings =
        file("  k8sAPIEndpoint: https://a:1\n  k8sAPIToken: s3cret\n  k8sInsecureSkipTLSVerify: true\n").unwrap();
    assert_eq!(settings.user, User::Token("s3cret".to_owned()));
    assert!(settings.tls.insecure);
    let inline: String = CONFIG.lines().map(|line| format!("    {line}\n")).collect();
    let settings = file(&format!("  kubeconfigInline: |\n{inline}  k8sCurrentContext: a\n")).unwrap();
    assert_eq!(settings.server.host(), Some("one"));
    let error = file("  k8sAPIToken: 12345\n").unwrap_err();
    assert!(error.contains("spec.k8sAPIToken") && !error.contains("12345"), "{error}");
}
