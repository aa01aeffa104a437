//! A response's body: a few shared pieces, and the leave to serve them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::clients::{Leave, Ongoing};

/// Pieces that are sent one after the other, without being copied into one.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    /// A request counts as being served until its last byte has been handed over to hyper.
    leave: Option<Arc<Leave>>,
    /// Its connection is busy until then.
    ongoing: Option<Ongoing>,
}

impl Pieces {
    /// hyper takes a piece only while it has little unsent: in slices a body, and the leave with it, lasts about as
    /// long as its reader needs. A stream of HTTP/2 holds one slice when its body is done.
    const SLICE: usize = 16 * 1024;

    /// A body of these pieces.
    pub(super) fn new(pieces: impl IntoIterator<Item = Bytes>) -> Pieces {
        let slices = |mut piece: Bytes| {
            std::iter::from_fn(move || (!piece.is_empty()).then(|| piece.split_to(piece.len().min(Self::SLICE))))
        };
        Pieces { pieces: pieces.into_iter().flat_map(slices).collect(), leave: None, ongoing: None }
    }

    /// Keeps `leave` until the body has been handed over or dropped.
    #[must_use]
    pub(super) fn holding(mut self, leave: Arc<Leave>) -> Pieces {
        self.leave = Some(leave);
        self
    }

    /// Keeps its connection busy until the body has been handed over or dropped.
    #[must_use]
    pub(super) fn during(mut self, ongoing: Ongoing) -> Pieces {
        // Shared bytes are at one address, whoever reads them.
        let name = self.pieces.front().map_or(0, |piece| piece.as_ptr() as usize);
        ongoing.sending(name, self.len());
        self.ongoing = Some(ongoing);
        self
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

impl From<String> for Pieces {
    fn from(text: String) -> Pieces {
        Pieces::new([text.into()])
    }
}

impl From<&'static str> for Pieces {
    fn from(text: &'static str) -> Pieces {
        Pieces::new([Bytes::from_static(text.as_bytes())])
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(ongoing) = &self.ongoing {
            ongoing.progressed();
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
