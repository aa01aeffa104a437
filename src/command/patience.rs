//! A person who waits is told what for.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How long a person waits without a word.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says on a terminal what takes so long.
pub(super) async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let began = Instant::now();
    loop {
        match tokio::time::timeout(PATIENCE, &mut work).await {
            Ok(done) => return done,
            Err(_) if io::stderr().is_terminal() => {
                let _ = writeln!(io::stderr(), "still {what} after {} s", began.elapsed().as_secs());
            }
            Err(_) => {}
        }
    }
}
