//! The cage: the lab runs in namespaces of its own (network, mounts, processes), of which nothing is seen outside.
//!
//! The program starts itself again inside. The first process of a process namespace takes all others with it when it
//! ends, and with the last of them go devices, routes, mounts and named network namespaces: whatever happens to the
//! lab, nothing of it stays. What is left to a crash is a directory, which the next start removes.

use std::fs;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

/// Tells the program that it is inside already: the value is the lab's directory.
const INSIDE: &str = "CALICO_LAB_DIRECTORY";
const PREFIX: &str = "calico-lab-";

/// The lab's directory, inside.
pub(crate) fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Where this program, run with these arguments, can make a cage: how `unshare` is called. As root no user namespace
/// is needed; otherwise one in which this user is root, where the system permits it.
fn unshare() -> Result<Command, String> {
    let base = ["--net", "--mount", "--pid", "--fork", "--kill-child"];
    let mut why = String::new();
    for more in [&[][..], &["--user", "--map-root-user"][..]] {
        let mut command = Command::new("unshare");
        command.args(more).args(base);
        // `ip netns` keeps names below /run, and this one has to be ours.
        match Command::new("unshare").args(more).args(base).args(["mount", "-t", "tmpfs", "lab", "/run"]).output() {
            Ok(output) if output.status.success() => return Ok(command),
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => why = format!("unshare: {error}"),
        }
    }
    Err(format!("no namespaces can be made here, neither as root nor as a user: {why}"))
}

/// The outside of a running cage.
pub(crate) struct Cage {
    directory: PathBuf,
    child: std::process::Child,
}

impl Cage {
    /// Starts this program again, inside, with the same arguments.
    pub(crate) fn start(arguments: &[String]) -> Result<Cage, String> {
        remove_leftovers();
        let mut command = unshare()?;
        let directory = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        let failed = |error: io::Error| format!("{}: {error}", directory.display());
        fs::create_dir_all(&directory).map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        // Standard input is how the inside learns that the outside is gone.
        let child = command
            .arg(program)
            .args(arguments)
            .env(INSIDE, &directory)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        Ok(Cage { directory, child })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Tells it to end, which its other end of the pipe does.
    pub(crate) fn stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        self.stop();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Directories of labs that are no more.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Inside: makes `/run` ours, and ends this process, and so everything, when the outside is gone.
pub(crate) fn settle_in(directory: &Path) {
    let status = Command::new("mount").args(["-t", "tmpfs", "lab", "/run"]).status();
    assert!(status.is_ok_and(|status| status.success()), "/run cannot be covered");
    let directory = directory.to_owned();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = fs::remove_dir_all(directory);
        std::process::exit(130);
    });
}

/// A socket in the lab's directory through which the outside reaches an address inside.
pub(crate) fn door(directory: &Path, name: &str, address: &str) -> io::Result<()> {
    // A socket that is seen is one that listens.
    let (hidden, path) = (directory.join(format!(".{name}")), directory.join(format!("{name}.sock")));
    let listener = UnixListener::bind(&hidden)?;
    fs::rename(hidden, path)?;
    let address = address.to_owned();
    thread::spawn(move || {
        for outside in listener.incoming().flatten() {
            let address = address.clone();
            thread::spawn(move || {
                if let Ok(inside) = TcpStream::connect(address) {
                    join(Stream::Unix(outside), Stream::Tcp(inside));
                }
            });
        }
    });
    Ok(())
}

/// Outside: a port on loopback that leads through a door. Returns its URL.
pub(crate) fn open(directory: &Path, name: &str) -> io::Result<String> {
    let path = directory.join(format!("{name}.sock"));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let path = path.clone();
            thread::spawn(move || {
                if let Ok(inside) = UnixStream::connect(path) {
                    join(Stream::Tcp(client), Stream::Unix(inside));
                }
            });
        }
    });
    Ok(format!("http://{address}/"))
}

/// Two kinds of streams, joined by the same code.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn again(&self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        })
    }

    /// Passes everything on, then says that there is no more.
    fn pour(mut self, into: &mut Stream) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = match &mut self {
                Stream::Tcp(stream) => stream.read(&mut buffer),
                Stream::Unix(stream) => stream.read(&mut buffer),
            };
            let Ok(count @ 1..) = read else { break };
            let written = match into {
                Stream::Tcp(stream) => io::Write::write_all(stream, &buffer[..count]),
                Stream::Unix(stream) => io::Write::write_all(stream, &buffer[..count]),
            };
            if written.is_err() {
                break;
            }
        }
        let _ = match into {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        };
    }
}

fn join(one: Stream, other: Stream) {
    let (Ok(from), Ok(mut to)) = (one.again(), other.again()) else { return };
    let forth = thread::spawn(move || from.pour(&mut to));
    let mut back = one;
    other.pour(&mut back);
    let _ = forth.join();
}
