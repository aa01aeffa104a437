//! One of the kernel's lists, asked for on a socket that does nothing else: what overflows the monitor must not tear it.

use std::io;
use std::time::Duration;

use rtnetlink::packet_core::{NLM_F_DUMP_INTR, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::time::sleep;

use super::NetlinkError;
use super::decode::{Decode, Told};
use super::socket::{Socket, messages};

/// How often a list is asked for again when it changed meanwhile.
const ATTEMPTS: u32 = 10;

/// One list, whole.
pub(super) async fn list<C: Decode>(
    socket: &mut Socket,
    what: &'static str,
    request: &RouteNetlinkMessage,
) -> Result<Vec<C>, NetlinkError> {
    let mut found = Vec::new();
    each(socket, what, request, |told| match told {
        Some(change) => found.push(change),
        None => found.clear(),
    })
    .await?;
    Ok(found)
}

/// One list, asked for again as long as the kernel says that it changed while it was read. `take` is given what it holds
/// one by one, and `None` where all of that is to be forgotten: a list of routes is too long to be kept twice.
pub(super) async fn each<C: Decode>(
    socket: &mut Socket,
    what: &'static str,
    request: &RouteNetlinkMessage,
    mut take: impl FnMut(Option<C>),
) -> Result<(), NetlinkError> {
    for attempt in 0..ATTEMPTS {
        if each_once(socket, what, request.clone(), &mut |change| take(Some(change))).await? {
            return Ok(());
        }
        take(None);
        tracing::debug!(what, attempt, "the list changed while it was read");
        sleep(Duration::from_millis(5) * 2u32.pow(attempt.min(5))).await;
    }
    Err(NetlinkError::Interrupted { what, attempts: ATTEMPTS })
}

/// One list; false where it is torn. The whole answer is read in any case, so that the socket is free again.
async fn each_once<C: Decode>(
    socket: &mut Socket,
    what: &'static str,
    request: RouteNetlinkMessage,
    take: &mut impl FnMut(C),
) -> Result<bool, NetlinkError> {
    let failed = |source| NetlinkError::Refused { what, source };
    let sequence = socket.request_dump(request).await.map_err(failed)?;
    let mut answer = Answer { what, sequence, torn: false };
    while !answer.take(socket.receive().await.map_err(failed)?, take)? {}
    Ok(!answer.torn)
}

/// An answer as it comes in.
struct Answer {
    what: &'static str,
    sequence: u32,
    /// The kernel says that the list changed while it was read.
    torn: bool,
}

impl Answer {
    /// Takes a datagram and hands on what it holds; true where it was the last.
    fn take<C: Decode>(&mut self, datagram: &[u8], found: &mut impl FnMut(C)) -> Result<bool, NetlinkError> {
        let what = self.what;
        let failed = |source| NetlinkError::Refused { what, source };
        let malformed = |source| NetlinkError::Malformed { what, source };
        for message in messages(datagram) {
            let message = message.map_err(malformed)?;
            if message.header.sequence_number != self.sequence {
                continue;
            }
            self.torn |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                // The end of a dump that failed has the reason in it. Overlooked, it is a host without routes.
                NetlinkPayload::Done(done) => return outcome(done.code).map(|()| true).map_err(failed),
                NetlinkPayload::Error(error) => {
                    outcome(error.raw_code()).map_err(failed)?;
                    return Err(failed(io::Error::other("answered without a list")));
                }
                NetlinkPayload::Overrun(_) => return Err(failed(io::Error::other("the answer was cut off"))),
                NetlinkPayload::InnerMessage(Told(change)) => change.into_iter().for_each(&mut *found),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// The kernel's code, which is negative, as an error.
fn outcome(code: i32) -> io::Result<()> {
    match code {
        0.. => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;
    use crate::source::netlink::decode::Change;

    /// A netlink message: type, flags and sequence number, and what follows the header.
    fn message(kind: u8, flags: u8, sequence: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(16 + payload.len()).unwrap();
        let header = [length, 0, 0, 0, kind, 0, flags, 0, sequence, 0, 0, 0, 0, 0, 0, 0];
        [&header[..], payload].concat()
    }

    /// `blackhole 10.66.0.0/26 proto bird`, part 2 of flags says that it is one of several messages.
    fn blackhole(flags: u8) -> Vec<u8> {
        let header = [2, 26, 0, 0, 254, 12, 0, 6, 0, 0, 0, 0];
        let destination = [8, 0, 1, 0, 10, 66, 0, 0];
        message(24, flags, 7, &[&header[..], &destination].concat())
    }

    fn answer() -> Answer {
        Answer { what: "IPv4 routes", sequence: 7, torn: false }
    }

    /// Whether the datagram was the last, and how much it held.
    fn take(answer: &mut Answer, datagram: &[u8]) -> Result<(bool, usize), NetlinkError> {
        let mut found = 0;
        let last = answer.take(datagram, &mut |_: Change| found += 1)?;
        Ok((last, found))
    }

    #[test]
    fn an_answer_ends_with_done() {
        let mut answer = answer();
        assert_eq!(take(&mut answer, &[blackhole(2), blackhole(2)].concat()).unwrap(), (false, 2));
        assert_eq!(take(&mut answer, &message(3, 2, 7, &[0, 0, 0, 0])).unwrap(), (true, 0));
        assert!(!answer.torn);
        assert!(take(&mut answer, &message(3, 2, 7, &[])).unwrap().0, "old kernels send no code");
    }

    #[test]
    fn an_error_at_the_end_is_no_empty_list() {
        let error = take(&mut answer(), &message(3, 2, 7, &(-22i32).to_le_bytes())).unwrap_err();
        assert!(error.to_string().starts_with("listing IPv4 routes failed: Invalid argument"), "{error}");
        let error = take(&mut answer(), &message(2, 0, 7, &(-1i32).to_le_bytes())).unwrap_err();
        assert!(matches!(error, NetlinkError::Refused { .. }), "{error}");
    }

    #[test]
    fn a_list_that_changed_while_it_was_read_is_torn() {
        for (part, end) in [(0x12, 2), (2, 0x12)] {
            let mut answer = answer();
            take(&mut answer, &[blackhole(part), message(3, end, 7, &[0, 0, 0, 0])].concat()).unwrap();
            assert!(answer.torn, "{part:#x} {end:#x}");
        }
    }

    #[test]
    fn the_rest_of_an_earlier_answer_is_passed_over() {
        assert!(!take(&mut answer(), &message(3, 2, 6, &[0, 0, 0, 0])).unwrap().0);
    }

    #[test]
    fn a_message_that_is_cut_off_is_an_error() {
        let whole = blackhole(2);
        for length in 1..whole.len() {
            let error = take(&mut answer(), &whole[..length]).unwrap_err();
            assert!(matches!(error, NetlinkError::Malformed { .. }), "{length}: {error}");
        }
    }
}
