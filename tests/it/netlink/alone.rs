//! What concerns a whole process: its privileges and its limits. Each runs the test binary once more, for one test.

use std::process::Command;
use std::time::{Duration, Instant};

use calico_exporter::source::netlink::Settings;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{DEVICES, ROUTES, agreed};
use crate::support::netns::in_namespace;
use crate::support::picture::{Follower, PATIENCE};

/// Set where a test has the process to itself.
const ALONE: &str = "CALICO_EXPORTER_TEST_ALONE";

#[test]
fn nobody_without_a_capability_sees_the_same() {
    in_namespace(async |namespace| {
        namespace.script(DEVICES);
        namespace.script(ROUTES);
        // Routes of fresh IPv6 addresses come by and by, so the two may be asked at different times.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut setpriv = namespace.command("setpriv");
            setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            setpriv.args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
            let told = run_alone(setpriv, "netlink::alone::as_nobody");
            let picture = agreed(&namespace, |_| true).await;
            let expected = format!("{} links and {} routes", picture.links.len(), picture.routes.len());
            if told.contains(&expected) {
                break;
            }
            assert!(Instant::now() < deadline, "{told} instead of {expected}");
        }
    });
}

#[test]
#[ignore = "run by another test, without privileges"]
fn as_nobody() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(!nix::unistd::geteuid().is_root());
        let mut follower = Follower::start(Settings::default()).await;
        follower.until_true("as it is").await;
        println!("{} links and {} routes", follower.picture.links.len(), follower.picture.routes.len());
    });
}

#[test]
fn a_failure_is_told_and_it_starts_again() {
    in_namespace(async |namespace| {
        namespace.veth("eth0", "p0", "172.18.0.4/16");
        run_alone(namespace.command("env"), "netlink::alone::out_of_file_descriptors");
    });
}

#[test]
#[ignore = "run by another test, in a process of its own: a limit is the whole process's"]
fn out_of_file_descriptors() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = Settings { refresh: Duration::from_millis(20), ..Settings::default() };
        let mut follower = Follower::start(settings).await;
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
        follower.until("lost twice", |follower| follower.lost.len() >= 2).await;
        assert!(follower.lost[0].contains("no netlink socket: Too many open files"), "{:?}", follower.lost);
        assert!(follower.picture.has("172.18.0.0/16"), "what is known stays");
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        follower.until("listed again", |follower| follower.resyncs == 2).await;
        follower.until_true("as before").await;
    });
}

/// Runs one of these tests in a process of its own by this command, and returns what it prints; it has to succeed.
fn run_alone(mut command: Command, test: &str) -> String {
    // A copy, as the folder that the binary lies in may be closed to others.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let folder = tempfile::Builder::new().permissions(readable).tempdir().unwrap();
    let copy = folder.path().join("it");
    // Copied by another process: a file that this one has open for writing cannot be run while another thread forks.
    assert!(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status().unwrap().success());
    command.env(ALONE, "1");
    let output = command.arg(&copy).args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "{told}");
    told
}
