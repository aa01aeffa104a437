//! A source whose task dies is out of sync, and started again: one message that nobody has thought of costs its own
//! source a moment, and not the whole exporter.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::backoff::Backoff;
use crate::state::{Event, Lookup, Side};

/// A task that has lived so long was none that dies at once.
const LASTING: Duration = Duration::from_secs(60);
/// Questions that wait for a task to begin.
const QUEUE: usize = 64;

/// Runs what `start` makes until `stop` becomes true, and starts it again, after a pause, whenever it ends before that.
/// `start` is given the channel of questions to answer; those that nobody takes are dropped.
pub async fn supervise<F>(
    side: Side,
    name: &'static str,
    events: mpsc::Sender<Vec<Event>>,
    mut lookups: Option<mpsc::Receiver<Lookup>>,
    mut stop: watch::Receiver<bool>,
    mut start: impl FnMut(mpsc::Receiver<Lookup>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        let (questions, asked) = mpsc::channel(QUEUE);
        let mut task = JoinSet::new();
        task.spawn(start(asked));
        let began = Instant::now();
        let ended = loop {
            let lookup = async {
                match &mut lookups {
                    Some(lookups) => lookups.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break None,
                () = events.closed() => return,
                ended = task.join_next() => break ended,
                lookup = lookup => match lookup {
                    // A full queue drops it: whoever asked asks again.
                    Some(lookup) => drop(questions.try_send(lookup)),
                    None => lookups = None,
                },
            }
        };
        let why = match ended {
            // It has heard the same, and ends in its own way.
            None => return drop(task.join_next().await),
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) if *stop.borrow() => return,
            Some(Ok(())) => "it ended by itself".to_owned(),
        };
        if began.elapsed() >= LASTING {
            backoff.reset();
        }
        let pause = backoff.next_delay();
        tracing::error!(source = name, why, seconds = pause.as_secs_f64(), "the source's task died; starting it again");
        if events.send(vec![Event::Lost(side, format!("the task that reads it died: {why}"))]).await.is_err() {
            return;
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_out_of_sync_and_started_again() {
        let (events, mut received) = mpsc::channel(8);
        let (asking, lookups) = mpsc::channel(8);
        let (stop, stopped) = watch::channel(false);
        let starts = Arc::new(AtomicUsize::new(0));
        let (counted, sender) = (starts.clone(), events.clone());
        let run = tokio::spawn(supervise(Side::Datastore, "etcd", events, Some(lookups), stopped, move |mut asked| {
            let (start, events) = (counted.fetch_add(1, Ordering::SeqCst), sender.clone());
            async move {
                assert!(start > 0, "the first one dies");
                let _ = events.send(vec![Event::Synced(Side::Datastore)]).await;
                let _: Option<Lookup> = asked.recv().await;
                let _ = events.send(vec![Event::Resync(Side::Datastore)]).await;
                std::future::pending::<()>().await;
            }
        }));
        let said = received.recv().await.unwrap();
        assert!(matches!(&said[..], [Event::Lost(Side::Datastore, why)] if why.contains("died")), "{said:?}");
        assert_eq!(received.recv().await.unwrap(), [Event::Synced(Side::Datastore)]);
        // The second one is asked what the first was.
        let block = Lookup::Block { cidr: "10.0.0.0/26".parse().unwrap(), held: false };
        asking.send(block).await.unwrap();
        assert_eq!(received.recv().await.unwrap(), [Event::Resync(Side::Datastore)]);
        assert_eq!(starts.load(Ordering::SeqCst), 2);
        drop(stop);
        run.abort();
    }
}
