//! A thread of its own for the sources and the engine: whoever asks for health, metrics or a page, and whoever says
//! that it is time to end, does not wait for a list that is being read or a report that is being made.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The thread, until this is dropped.
pub(super) struct Following {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Following {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// The system has no thread, or none of what tasks wait with.
    pub(super) fn start() -> io::Result<Following> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            // An error is that its sender was dropped, which is how it ends.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Following { handle, _end: end })
    }

    /// Where its tasks are spawned.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}
