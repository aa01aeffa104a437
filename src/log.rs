//! Where log lines go: to stderr, by a thread of their own. Whoever logs never waits for whoever reads: lines that
//! nobody reads are dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::warn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;

use crate::model::{Printable, steers};

/// Lines that wait for their reader.
const MOST_LINES: usize = 1024;
/// Bytes of one line: errors quote others' words.
const LONGEST: usize = 8 * 1024;
/// How long the end of the program waits for lines to be read.
const PATIENCE: Duration = Duration::from_millis(500);

/// Takes lines.
#[derive(Debug, Clone)]
pub struct LogWriter {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// Waits at the end until what was logged is written, though not for ever.
#[derive(Debug)]
pub struct LogEnd {
    lines: SyncSender<Vec<u8>>,
    done: Receiver<()>,
}

impl LogWriter {
    /// A writer to stderr.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn stderr() -> io::Result<(LogWriter, LogEnd)> {
        LogWriter::to(io::stderr())
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<(LogWriter, LogEnd)> {
        let (lines, received) = sync_channel(MOST_LINES);
        let (written, done) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = dropped.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            write(out, &received, &count);
            let _ = written.send(());
        })?;
        Ok((LogWriter { lines: lines.clone(), dropped }, LogEnd { lines, done }))
    }

    fn take(&self, line: &[u8]) {
        if self.lines.try_send(printed(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for LogEnd {
    fn drop(&mut self) {
        // An empty line is the end. Where there is no room for it nobody reads.
        let mut left = PATIENCE;
        const GLANCE: Duration = Duration::from_millis(10);
        while self.lines.try_send(Vec::new()).is_err() && !left.is_zero() {
            std::thread::sleep(GLANCE);
            left = left.saturating_sub(GLANCE);
        }
        let (Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) = self.done.recv_timeout(left);
    }
}

/// One line, with nothing in it that steers a terminal, and an end.
fn printed(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let mut text = if text.contains(steers) { Printable(text).to_string() } else { text.to_owned() };
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text.push('\n');
    text.into_bytes()
}

fn write(mut out: impl Write, lines: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    while let Ok(line) = lines.recv() {
        if line.is_empty() {
            return;
        }
        // Whoever reads may have gone: that is no reason to end.
        let _ = out.write_all(&line);
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            warn!(count, "log lines were dropped: nobody read them");
        }
    }
}

/// A line that is being formatted.
#[derive(Debug)]
pub struct Line<'a> {
    writer: &'a LogWriter,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { writer: self, bytes: Vec::new() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.writer.take(&self.bytes);
        }
    }
}

/// What is logged from `level` on. What h2 says of strangers' frames names nobody and comes as often as they like: only
/// whoever asks for everything has it.
pub fn logged(level: LevelFilter) -> Targets {
    let of_libraries = if level >= LevelFilter::DEBUG { level } else { level.min(LevelFilter::ERROR) };
    ["h2", "hyper", "rustls", "tokio_rustls", "tower"]
        .into_iter()
        .fold(Targets::new().with_default(level), |targets, name| targets.with_target(name, of_libraries))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// A pipe that nobody reads until `gate` says so.
    struct Pipe {
        gate: Receiver<()>,
        open: bool,
        out: Sender<String>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.open {
                self.open = self.gate.recv().is_ok();
            }
            let _ = self.out.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_who_does_not_read() {
        let ((gate, opened), (out, written)) = (channel(), channel());
        let (writer, end) = LogWriter::to(Pipe { gate: opened, open: false, out }).unwrap();
        let lines = MOST_LINES + 1000;
        let began = Instant::now();
        for number in 0..lines {
            writer.take(format!("line {number}\n").as_bytes());
        }
        assert!(began.elapsed() < Duration::from_secs(5));
        let dropped = writer.dropped.load(Ordering::Relaxed);
        assert!((998..=1000).contains(&dropped), "{dropped}");
        gate.send(()).unwrap();
        drop(end);
        let kept: Vec<String> = written.try_iter().collect();
        assert_eq!(kept.len() as u64 + dropped, lines as u64);
        assert_eq!(kept.last().unwrap(), &format!("line {}\n", kept.len() - 1), "the oldest are kept, in order");
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let ((_gate, opened), (out, _written)) = (channel(), channel());
        let (writer, end) = LogWriter::to(Pipe { gate: opened, open: false, out }).unwrap();
        (0..MOST_LINES + 2).for_each(|_| writer.take(b"line\n"));
        let began = Instant::now();
        drop(end);
        assert!((PATIENCE..PATIENCE * 4).contains(&began.elapsed()));
    }

    /// Whatever is logged, in both forms: one line each, in which nothing steers, and JSON stays JSON.
    #[test]
    fn no_line_steers_what_shows_it() {
        const EVIL: &str = "a\u{1b}[2J\u{9b}0m\u{7f}\u{202e}b\nc\"";
        let said = |json: bool| {
            let ((gate, opened), (out, written)) = (channel(), channel());
            let (writer, end) = LogWriter::to(Pipe { gate: opened, open: false, out }).unwrap();
            gate.send(()).unwrap();
            let say = || warn!(host = EVIL, "said by {EVIL}");
            let registry = tracing_subscriber::registry();
            match json {
                true => with_default(registry.with(tracing_subscriber::fmt::layer().json().with_writer(writer)), say),
                false => {
                    let layer = tracing_logfmt::builder().with_target(false).layer();
                    with_default(registry.with(layer.with_writer(writer)), say);
                }
            }
            drop(end);
            written.try_iter().collect::<String>()
        };
        for json in [true, false] {
            let line = said(json);
            assert_eq!(line.lines().count(), 1, "{line:?}");
            assert!(!line.trim_end_matches('\n').contains(steers), "{line:?}");
            if json {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(line["fields"]["host"], EVIL);
            }
        }
        assert_eq!(printed(&[b'x'; 100_000]).len(), LONGEST + "…\n".len());
    }

    #[test]
    fn libraries_speak_of_strangers_only_to_whoever_asks_for_everything() {
        let at = |level, target| logged(level).would_enable(target, &tracing::Level::WARN);
        assert!(at(LevelFilter::INFO, "calico_exporter::web") && !at(LevelFilter::INFO, "h2::proto::streams"));
        assert!(at(LevelFilter::DEBUG, "h2::proto::streams"));
        assert!(!at(LevelFilter::ERROR, "calico_exporter::web"));
    }
}
