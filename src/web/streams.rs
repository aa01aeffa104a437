//! Streams of HTTP/2: each is a task of its own, and can be given up without its connection.

use std::sync::Arc;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::task_local;

task_local! {
    static STOP: Arc<Notify>;
}

/// Runs streams until they are done or given up. A stream that is dropped is reset (RFC 9113, 5.4.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams;

impl Streams {
    /// What gives up the stream whose task this is.
    pub(super) fn stop() -> Option<Arc<Notify>> {
        STOP.try_with(Arc::clone).ok()
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let stop = Arc::new(Notify::new());
        let given_up = stop.clone();
        tokio::spawn(STOP.scope(stop, async move {
            tokio::select! {
                _ = stream => {}
                () = given_up.notified() => {}
            }
        }));
    }
}
