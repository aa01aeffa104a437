//! What a whole source makes of the answers that it is given.

use calico_exporter::state::{Event, Lookup};
use tokio::sync::{mpsc, watch};

/// Runs a source until it is lost. Its events come last first: why it ended tells more of the path taken than what went
/// well before.
pub(crate) async fn said_until_lost<F: Future<Output = ()>>(
    run: impl FnOnce(mpsc::Sender<Vec<Event>>, mpsc::Receiver<Lookup>, watch::Receiver<bool>) -> F,
) -> String {
    let (events, mut received) = mpsc::channel::<Vec<Event>>(64);
    let ((_lookups, lookups), (_stop, stopped)) = (mpsc::channel(1), watch::channel(false));
    let listen = async {
        let mut said = Vec::new();
        while let Some(batch) = received.recv().await {
            said.extend(batch.into_iter().filter(|event| !matches!(event, Event::Synced(_) | Event::Resync(_))));
            if said.iter().any(|event| matches!(event, Event::Lost(..))) {
                break;
            }
        }
        said.reverse();
        format!("{said:?}")
    };
    tokio::select! {
        said = listen => said,
        () = run(events, lookups, stopped) => unreachable!("nobody has stopped it"),
    }
}
