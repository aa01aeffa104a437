//! Which process a netlink port belongs to, where that is certain without privileges.
//!
//! The kernel puts the port of the socket that asked for a change into its notification (`rtnl_notify`). The first
//! netlink socket that a process binds has the process's id as its port, as its own PID namespace numbers it
//! (`af_netlink.c`, `netlink_autobind`). So a port names a process only where no other process can have it: this
//! program sees the host's PID namespace, the process lives in that namespace too, it may change routes
//! (`CAP_NET_ADMIN`), and no process in a namespace of its own has that number and the capability. `/proc/PID/status`
//! says all of this to everybody; `/proc/PID/fd` would settle it, and may only be read by root.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::state::{Author, Process};

/// `PROC_PID_INIT_INO` of the kernel's `proc_ns.h`: the host's PID namespace.
const HOST_NAMESPACE: &str = "pid:[4026531836]";
/// `CAP_NET_ADMIN` of `linux/capability.h`.
const NET_ADMIN: u32 = 12;
/// How long an answer holds: a port may belong to another process after that.
const KEPT: Duration = Duration::from_secs(10);
/// Ports that are known at once.
const MOST_PORTS: usize = 256;
/// Walks over all processes that may follow each other, and how long it takes until one more may.
const WALKS: u32 = 8;
const A_WALK: Duration = Duration::from_millis(500);

/// What `/proc` says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Status {
    name: String,
    /// Its ids, the host's first and its own namespace's last.
    ids: Vec<u32>,
    may_change_routes: bool,
}

/// Who asks the kernel for changes.
#[derive(Debug)]
pub(super) struct Authors {
    proc: PathBuf,
    known: HashMap<u32, (Instant, Author)>,
    walks: u32,
    last_walk: Instant,
}

impl Authors {
    pub(super) fn new() -> Authors {
        Authors::of(Path::new("/proc"))
    }

    fn of(proc: &Path) -> Authors {
        Authors { proc: proc.to_owned(), known: HashMap::new(), walks: WALKS, last_walk: Instant::now() }
    }

    /// The author of a change that this port asked for.
    pub(super) fn author(&mut self, port: u32) -> Author {
        if port == 0 {
            return Author::Kernel;
        }
        let now = Instant::now();
        if let Some((at, author)) = self.known.get(&port)
            && now - *at < KEPT
        {
            return author.clone();
        }
        if self.known.len() >= MOST_PORTS {
            self.known.clear();
        }
        let author = Author::Netlink(port, self.process(port, now));
        self.known.insert(port, (now, author.clone()));
        author
    }

    fn process(&mut self, port: u32, now: Instant) -> Option<Process> {
        let pid = i32::try_from(port).ok().filter(|pid| *pid > 0)?;
        let status = self.status(&pid.to_string())?;
        let here = std::fs::read_link(self.proc.join("self/ns/pid")).ok()?;
        if here.to_str() != Some(HOST_NAMESPACE) || !status.may_change_routes || status.ids != [port] {
            return None;
        }
        if !self.may_walk(now) || self.is_ambiguous(port) {
            return None;
        }
        let gone = !self.proc.join(pid.to_string()).exists();
        Some(Process { pid: port, name: status.name.into(), gone })
    }

    /// Every process is read at most twice a second in the long run: somebody may run `ip route` in a loop.
    fn may_walk(&mut self, now: Instant) -> bool {
        let earned = (now - self.last_walk).as_millis() / A_WALK.as_millis();
        if earned > 0 {
            self.walks = self.walks.saturating_add(u32::try_from(earned).unwrap_or(WALKS)).min(WALKS);
            self.last_walk = now;
        }
        let may = self.walks > 0;
        self.walks = self.walks.saturating_sub(1);
        may
    }

    /// Whether a process in a PID namespace of its own may have this port as well.
    fn is_ambiguous(&self, port: u32) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.proc) else { return true };
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
                return false;
            };
            let status = self.status(pid);
            status.is_some_and(|it| it.may_change_routes && it.ids.len() > 1 && it.ids.last() == Some(&port))
        })
    }

    fn status(&self, pid: &str) -> Option<Status> {
        let text = std::fs::read_to_string(self.proc.join(pid).join("status")).ok()?;
        parse(&text)
    }
}

/// `/proc/PID/status` (proc_pid_status(5)); `NSpid` is there since Linux 4.1.
fn parse(text: &str) -> Option<Status> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let ids = field("NSpid")?.split_whitespace().map(|id| id.parse().ok()).collect::<Option<Vec<u32>>>()?;
    let capabilities = u64::from_str_radix(field("CapEff")?, 16).ok()?;
    Some(Status { name: field("Name")?.to_owned(), ids, may_change_routes: capabilities >> NET_ADMIN & 1 == 1 })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ADMIN: &str = "0000000000001000";

    struct Proc(tempfile::TempDir);

    impl Proc {
        fn new(namespace: &str) -> Proc {
            let proc = Proc(tempfile::tempdir().unwrap());
            std::fs::create_dir_all(proc.0.path().join("self/ns")).unwrap();
            symlink(namespace, proc.0.path().join("self/ns/pid")).unwrap();
            proc
        }

        fn with(self, name: &str, ids: &str, capabilities: &str) -> Proc {
            let folder = self.0.path().join(ids.split('\t').next().unwrap());
            std::fs::create_dir_all(&folder).unwrap();
            let text = format!("Name:\t{name}\nUmask:\t0022\nNSpid:\t{ids}\nCapEff:\t{capabilities}\n");
            std::fs::write(folder.join("status"), text).unwrap();
            self
        }

        fn author(&self, port: u32) -> Author {
            Authors::of(self.0.path()).author(port)
        }
    }

    fn named(pid: u32, name: &str) -> Author {
        Author::Netlink(pid, Some(Process { pid, name: name.into(), gone: false }))
    }

    #[test]
    fn a_port_names_a_process_only_where_no_other_can_have_it() {
        let host = || Proc::new(HOST_NAMESPACE).with("systemd-network", "812", ADMIN);
        assert_eq!(host().author(812), named(812, "systemd-network"));
        assert_eq!(host().author(0), Author::Kernel);
        // BIRD in a container has a number of its own there, and a second socket any number at all.
        let beside = host().with("bird", "4711\t812", ADMIN);
        assert_eq!(beside.author(812), Author::Netlink(812, None));
        assert_eq!(beside.author(4711), Author::Netlink(4711, None), "in its namespace it is 812");
        assert_eq!(host().with("pause", "4711\t812", "0").author(812), named(812, "systemd-network"));
        for port in [813, 4_198_530_112] {
            assert_eq!(host().author(port), Author::Netlink(port, None));
        }
        assert_eq!(host().with("cron", "900", "0").author(900), Author::Netlink(900, None), "it may change no route");
        let container = Proc::new("pid:[4026532000]").with("systemd-network", "812", ADMIN);
        assert_eq!(container.author(812), Author::Netlink(812, None), "this namespace numbers otherwise");
    }

    #[test]
    fn walks_over_all_processes_are_few_and_answers_are_kept() {
        let mut proc = Proc::new(HOST_NAMESPACE);
        for pid in 1..=40 {
            proc = proc.with("ip", &pid.to_string(), ADMIN);
        }
        let mut authors = Authors::of(proc.0.path());
        let named = (1..=40).filter(|pid| matches!(authors.author(*pid), Author::Netlink(_, Some(_)))).count();
        assert!((WALKS as usize..40).contains(&named), "{named}");
        std::fs::remove_file(proc.0.path().join("1/status")).unwrap();
        assert!(matches!(authors.author(1), Author::Netlink(1, Some(_))));
    }
}
