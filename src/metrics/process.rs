//! This process as Linux' `/proc` shows it, under the names that every Prometheus client uses.

use std::fs;

/// What can be read of this process; what cannot is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// User and system time.
    pub cpu_seconds: Option<f64>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Virtual memory.
    pub virtual_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// How many may be open.
    pub max_fds: Option<u64>,
    /// Start in unix time.
    pub start_seconds: Option<f64>,
}

/// `USER_HZ`, the unit of times in `/proc`: 100 wherever Linux runs today, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// Reads `/proc/self`.
    pub fn read() -> Process {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, status) = (read("/proc/self/stat"), read("/proc/self/status"));
        let ticks = |field| stat_field(&stat, field).map(|ticks| ticks / TICKS_PER_SECOND);
        Process {
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            resident_bytes: kib(&status, "VmRSS:"),
            virtual_bytes: kib(&status, "VmSize:"),
            // One of them is the directory that is being read.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as u64),
            max_fds: max_fds(&read("/proc/self/limits")),
            start_seconds: ticks(22).zip(boot_time(&read("/proc/stat"))).map(|(after, boot)| boot + after),
        }
    }
}

/// A field of `/proc/PID/stat`, counted from 1 as in proc(5). The second, the program's name, may hold spaces and
/// parentheses: fields are counted from behind its last one.
fn stat_field(stat: &str, field: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

/// A size of `/proc/PID/status`, written in KiB.
fn kib(status: &str, key: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The soft limit of `/proc/PID/limits`.
fn max_fds(limits: &str) -> Option<u64> {
    let values = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    values.split_ascii_whitespace().next()?.parse().ok()
}

/// When the host booted, in unix time.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_strange_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 1234 0 0";
        assert_eq!(stat_field(stat, 14), Some(250.0));
        assert_eq!(stat_field(stat, 15), Some(50.0));
        assert_eq!(stat_field(stat, 22), Some(1234.0));
        assert_eq!(stat_field("", 14), None);
    }

    #[test]
    fn sizes_and_limits() {
        assert_eq!(kib("Name:\tx\nVmRSS:\t    1024 kB\n", "VmRSS:"), Some(1_048_576));
        assert_eq!(kib("VmRSS: many kB", "VmRSS:"), None);
        assert_eq!(max_fds("Max open files            1024                 524288               files\n"), Some(1024));
        assert_eq!(max_fds("Max open files            unlimited            unlimited            files\n"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1.7e9));
    }

    #[test]
    fn this_process_is_there() {
        let process = Process::read();
        assert!(process.resident_bytes.unwrap() > 100_000);
        assert!(process.open_fds.unwrap() >= 3);
        assert!(process.start_seconds.unwrap() > 1.6e9);
        assert!(process.cpu_seconds.is_some() && process.virtual_bytes.is_some());
    }
}
