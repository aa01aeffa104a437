//! `tunl0`: a tun device by that name, where a kernel without IPIP has none. Like the real one it has a carrier and no
//! link layer; it has it as long as a program keeps it open, which is this one, started again in the host's namespace.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use tokio_tun::Tun;

use crate::process::{Process, within};

/// The word that has this program do nothing else.
pub(crate) const HOLD: &str = "--hold-tun";
const DEVICE: &str = "tunl0";

/// Makes the device in this namespace and waits for its carrier. It goes with the process.
pub(crate) fn start(namespace: &str, directory: &Path) -> Process {
    let mut command = within(namespace, std::env::current_exe().unwrap());
    command.args([HOLD, DEVICE]);
    let process = Process::start(directory, &format!("{namespace}-{DEVICE}"), command);
    let deadline = Instant::now() + Duration::from_secs(60);
    let carrier = || {
        let shown = Command::new("ip").args(["-n", namespace, "link", "show", "dev", DEVICE]).output();
        shown.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("LOWER_UP"))
    };
    while !carrier() {
        assert!(Instant::now() < deadline, "{DEVICE} has no carrier: {}", process.last_words());
        thread::sleep(Duration::from_millis(20));
    }
    process
}

/// Keeps the device open; what is sent into it goes nowhere.
pub(crate) fn hold(name: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tun = match Tun::builder().name(name).mtu(1480).up().build() {
            Ok(mut queues) => queues.remove(0),
            Err(error) => {
                crate::say(&format!("{name}: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let mut packet = [0; 2048];
        while tun.recv(&mut packet).await.is_ok() {}
        ExitCode::FAILURE
    })
}
