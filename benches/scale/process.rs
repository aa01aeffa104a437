//! Programs under measurement: etcd, the exporter, and what they are compared with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::load::Failure;

/// How long anything may take that must happen sooner or later.
const DEADLINE: Duration = Duration::from_secs(120);

/// A program that ends with this value.
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Running {
    /// The etcd that is installed, but that it does not wait for the disk, in a directory of its own.
    pub fn etcd(directory: &Path) -> Result<Running, Failure> {
        Running::etcd_of(Path::new("etcd"), directory)
    }

    /// The same of another version.
    pub fn etcd_of(program: &Path, directory: &Path) -> Result<Running, Failure> {
        let (address, peer) = (free()?, free()?);
        let (client, peer) = (format!("http://{address}"), format!("http://{peer}"));
        let child = Command::new(program)
            .args(["--data-dir".as_ref(), directory.as_os_str()])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(["--quota-backend-bytes", "8000000000", "--unsafe-no-fsync", "--logger", "zap"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Running { child, address }.once_healthy()
    }

    /// The exporter, following `etcd`. Its log goes to `log`.
    pub fn exporter(etcd: &Running, flags: &[&str], log: Option<&Path>) -> Result<Running, Failure> {
        let address = free()?;
        let log = match log {
            Some(path) => Stdio::from(std::fs::File::create(path)?),
            None => Stdio::null(),
        };
        let child = Command::new(exporter())
            .args(["--etcd.endpoints", &etcd.url(), "--node.name", "node-00000"])
            .args(["--web.listen-address", &address.to_string()])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Running { child, address })
    }

    /// Any other program that listens on the address which is its last argument.
    pub fn other(program: &Path, argument: &Path) -> Result<Running, Failure> {
        let address = free()?;
        let child = Command::new(program).arg(argument).arg(address.to_string()).spawn()?;
        let running = Running { child, address };
        running.until(|it| TcpStream::connect(it.address).is_ok())?;
        Ok(running)
    }

    /// A program that was started.
    pub fn of(child: Child, address: SocketAddr) -> Running {
        Running { child, address }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until something is so; returns how long that took.
    pub fn until(&self, is: impl Fn(&Running) -> bool) -> Result<Duration, Failure> {
        let began = Instant::now();
        while !is(self) {
            if began.elapsed() > DEADLINE {
                return Err("it does not get there".into());
            }
            sleep(Duration::from_millis(2));
        }
        Ok(began.elapsed())
    }

    /// Waits for an etcd, or what speaks for one, to say that it is well.
    fn once_healthy(self) -> Result<Running, Failure> {
        self.until(|it| get(it.address, "/health", false).is_ok_and(|answer| answer.status == 200))?;
        Ok(self)
    }

    /// Waits until it is ready.
    pub fn ready(&self) -> Result<Duration, Failure> {
        self.until(|it| get(it.address, "/readyz", false).is_ok_and(|answer| answer.status == 200))
    }

    /// Memory in MiB: resident now, and at most.
    pub fn memory(&self) -> Result<(f64, f64), Failure> {
        memory(self.child.id())
    }

    /// An `etcd grpc-proxy` before `etcd`.
    pub fn proxy(etcd: &Running) -> Result<Running, Failure> {
        let address = free()?;
        let child = Command::new("etcd")
            .args(["grpc-proxy", "start", "--endpoints", &etcd.url(), "--listen-addr", &address.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Running { child, address }.once_healthy()
    }

    /// Bytes that an etcd has sent to its clients.
    pub fn sent(&self) -> Result<f64, Failure> {
        let text = String::from_utf8(get(self.address, "/metrics", false)?.body)?;
        let value = text.lines().find_map(|line| line.strip_prefix("etcd_network_client_grpc_sent_bytes_total "));
        Ok(value.ok_or("etcd does not say what it sent")?.parse()?)
    }

    /// How often its threads gave up the processor to wait for something: the number of times that they were woken.
    pub fn wakes(&self) -> Result<f64, Failure> {
        let mut wakes = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            wakes += line.ok_or("no context switches")?.trim().parse::<f64>()?;
        }
        Ok(wakes)
    }

    /// Processor time in seconds so far.
    pub fn processor(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0);
        // utime and stime, in hundredths of a second on every Linux.
        Ok((ticks(11) + ticks(12)) / 100.0)
    }
}

fn memory(pid: u32) -> Result<(f64, f64), Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
    };
    Ok((of("VmRSS:").ok_or("no VmRSS")?, of("VmHWM:").ok_or("no VmHWM")?))
}

/// The exporter as it is shipped (`--profile dist`).
pub fn exporter() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors().nth(3).unwrap_or(Path::new("target")).join("dist/calico-exporter")
}

/// Runs a program to its end with its output thrown away; returns seconds and MiB at its largest.
pub fn to_the_end(program: &str, arguments: &[&str]) -> Result<(f64, f64), Failure> {
    let began = Instant::now();
    let mut child = Command::new(program).args(arguments).env("ETCDCTL_API", "3").stdout(Stdio::null()).spawn()?;
    let mut largest: f64 = 0.0;
    loop {
        if let Ok((_, peak)) = memory(child.id()) {
            largest = largest.max(peak);
        }
        if let Some(status) = child.try_wait()? {
            let seconds = began.elapsed().as_secs_f64();
            return if status.success() { Ok((seconds, largest)) } else { Err(format!("{program}: {status}").into()) };
        }
        sleep(Duration::from_millis(1));
    }
}

/// What an HTTP server answers.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body, as sent.
    pub body: Vec<u8>,
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr, path: &str, gzip: bool) -> Result<Answer, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let encoding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    // 1.0, so that nobody sends chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n{encoding}\r\n")?;
    let mut bytes = Vec::with_capacity(1 << 16);
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").ok_or("no head")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or("no status")?;
    bytes.drain(..end + 4);
    Ok(Answer { status, body: bytes })
}
