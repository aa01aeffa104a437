//! Questions that a report does not answer: details that are made only when somebody asks, by the one who owns the
//! state. They wait for a while, not for ever.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::audit::explain::{Explanation, Subject};
use crate::audit::{HostBlocks, RoutePage};
use crate::model::Name;
use crate::state::{Entry, Filter};

/// Questions that wait at once; who comes then is told that the engine is busy.
const QUEUE: usize = 16;
/// How long somebody waits for an answer: longer than a look takes in a large cluster.
const PATIENCE: Duration = Duration::from_secs(3);

/// A question, with where its answer goes.
#[derive(Debug)]
pub enum Question {
    /// A host's blocks, address by address.
    Blocks {
        /// The host.
        host: Name,
        /// The first block to show.
        from: usize,
        /// `None`: nothing is known of such a host.
        reply: oneshot::Sender<Option<HostBlocks>>,
    },
    /// This host's routes.
    Routes {
        /// The first row to show.
        from: usize,
        /// How many rows.
        limit: usize,
        /// `None`: they are not judged.
        reply: oneshot::Sender<Option<RoutePage>>,
    },
    /// Why something can be reached from here, or why not.
    Explain {
        /// What.
        subject: Subject,
        /// `None`: the datastore was never read as a whole.
        reply: oneshot::Sender<Option<Explanation>>,
    },
    /// What changed.
    History {
        /// Which changes.
        filter: Filter,
        /// How many of them, the newest first.
        limit: usize,
        /// They may be none.
        reply: oneshot::Sender<Recent>,
    },
    /// What changed about each of several subjects.
    Timelines {
        /// The subjects.
        subjects: Vec<Box<str>>,
        /// How many changes of each, the newest first.
        each: usize,
        /// In the order of the subjects.
        reply: oneshot::Sender<Vec<Vec<Entry>>>,
    },
}

/// Changes that pass a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// The newest first.
    pub entries: Vec<Entry>,
    /// There are older ones.
    pub more: bool,
    /// Changes of any kind that had to leave since the start.
    pub dropped: u64,
}

impl Question {
    /// Whoever asked does not wait any more.
    pub(super) fn is_moot(&self) -> bool {
        match self {
            Question::Blocks { reply, .. } => reply.is_closed(),
            Question::Routes { reply, .. } => reply.is_closed(),
            Question::Explain { reply, .. } => reply.is_closed(),
            Question::History { reply, .. } => reply.is_closed(),
            Question::Timelines { reply, .. } => reply.is_closed(),
        }
    }
}

/// No answer: the engine is busy, or it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine is busy")]
pub struct Unanswered;

/// Where questions are asked.
#[derive(Debug, Clone)]
pub struct Inquiry {
    questions: mpsc::Sender<Question>,
    patience: Duration,
}

/// A place to ask, and the engine's end of it.
pub fn inquiry() -> (Inquiry, mpsc::Receiver<Question>) {
    let (questions, received) = mpsc::channel(QUEUE);
    (Inquiry { questions, patience: PATIENCE }, received)
}

impl Inquiry {
    /// Waits so long for each answer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Inquiry {
        self.patience = patience;
        self
    }

    /// A host's blocks from the one at `from` on; `None` for a host that the datastore does not know.
    ///
    /// # Errors
    ///
    /// The engine did not answer in time.
    pub async fn blocks(&self, host: Name, from: usize) -> Result<Option<HostBlocks>, Unanswered> {
        self.ask(|reply| Question::Blocks { host, from, reply }).await
    }

    /// This host's routes from the row at `from` on; `None` where they are not judged, or not yet.
    ///
    /// # Errors
    ///
    /// The engine did not answer in time.
    pub async fn routes(&self, from: usize, limit: usize) -> Result<Option<RoutePage>, Unanswered> {
        self.ask(|reply| Question::Routes { from, limit, reply }).await
    }

    /// Why a subject can be reached from here, or why not; `None` before the datastore was read as a whole.
    ///
    /// # Errors
    ///
    /// The engine did not answer in time.
    pub async fn explain(&self, subject: Subject) -> Result<Option<Explanation>, Unanswered> {
        self.ask(|reply| Question::Explain { subject, reply }).await
    }

    /// The newest changes that pass the filter.
    ///
    /// # Errors
    ///
    /// The engine did not answer in time.
    pub async fn history(&self, filter: Filter, limit: usize) -> Result<Recent, Unanswered> {
        self.ask(|reply| Question::History { filter, limit, reply }).await
    }

    /// The newest changes about each subject, in their order.
    ///
    /// # Errors
    ///
    /// The engine did not answer in time.
    pub async fn timelines(&self, subjects: Vec<Box<str>>, each: usize) -> Result<Vec<Vec<Entry>>, Unanswered> {
        self.ask(|reply| Question::Timelines { subjects, each, reply }).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        // A queue that is full is as good as no answer.
        self.questions.try_send(question(reply)).map_err(|_| Unanswered)?;
        match timeout(self.patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Unanswered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_ever_and_a_full_queue_is_told_at_once() {
        let (inquiry, received) = inquiry();
        let inquiry = inquiry.patience(Duration::from_millis(20));
        for _ in 0..QUEUE {
            assert_eq!(inquiry.routes(0, 10).await, Err(Unanswered));
        }
        let patient = inquiry.clone().patience(Duration::from_secs(3600));
        assert_eq!(patient.blocks("h1".into(), 0).await, Err(Unanswered), "the queue is full");
        drop(received);
        assert_eq!(patient.routes(0, 10).await, Err(Unanswered), "the engine has ended");
    }
}
