//! Network namespaces of their own: each test has a host to itself, and leaves nothing behind.

use std::future::Future;
use std::io::Write;
use std::marker::PhantomData;
use std::process::{Command, Output, Stdio};

use nix::sched::{CloneFlags, unshare};

/// The namespace of this thread. Programs started from the thread are in it as well; it ends with the last of them.
pub(crate) struct Namespace {
    /// Not to be sent: another thread is in another namespace.
    thread: PhantomData<*const ()>,
}

/// Runs the test on a thread of its own in a fresh network namespace, where only `lo` is, and that down. It makes
/// its own runtime there, of that one thread, since sockets belong to the namespace of the thread that opens them.
///
/// Without root or `ip` the test fails where the variable `CI` is set; elsewhere it says that it does nothing.
pub(crate) fn in_namespace<F, Fut>(test: F)
where
    F: FnOnce(Namespace) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    if let Err(why) = possible() {
        assert!(std::env::var_os("CI").is_none(), "this test cannot run: {why}");
        eprintln!("SKIPPED, nothing is tested: {why}");
        return;
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(Namespace { thread: PhantomData }));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("it needs root to make a network namespace".into());
    }
    match Command::new("ip").arg("-V").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("it needs iproute2's `ip`".into()),
    }
}

impl Namespace {
    /// A command for this namespace.
    pub(crate) fn command(&self, program: &str) -> Command {
        let _ = self.thread;
        Command::new(program)
    }

    /// Runs `ip` with these words and returns what it prints; it has to succeed.
    pub(crate) fn ip(&self, words: &str) -> Vec<u8> {
        let output = self.command("ip").args(words.split_whitespace()).output().unwrap();
        succeeded(&format!("ip {words}"), output)
    }

    /// Runs `bridge` with these words; it has to succeed.
    pub(crate) fn bridge(&self, words: &str) -> Vec<u8> {
        let output = self.command("bridge").args(words.split_whitespace()).output().unwrap();
        succeeded(&format!("bridge {words}"), output)
    }

    /// Runs `ip` once for these lines.
    pub(crate) fn batch(&self, lines: &str) {
        let mut ip = self.command("ip");
        let mut child = ip.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        succeeded("ip -batch", child.wait_with_output().unwrap());
    }

    /// Runs a shell script; lines of it may fail.
    pub(crate) fn script(&self, text: &str) {
        self.command("sh").args(["-c", text]).output().unwrap();
    }

    /// A veth pair, both ends up, the first with this address.
    pub(crate) fn veth(&self, name: &str, peer: &str, address: &str) {
        self.ip(&format!("link add {name} type veth peer name {peer}"));
        self.ip(&format!("addr add {address} dev {name}"));
        self.ip(&format!("link set {peer} up"));
        self.ip(&format!("link set {name} up"));
    }
}

fn succeeded(what: &str, output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
