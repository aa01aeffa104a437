//! A netlink socket that loses nothing silently: an overrun is an error, a datagram is seen whole or refused.

use std::io;

use bytes::BytesMut;
use netlink_packet_core::{DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

/// `ENOBUFS`: the kernel had more to say than the receive buffer holds, and dropped it.
const ENOBUFS: i32 = 105;

/// The kernel makes dumps in parts of 32 KiB at most (`af_netlink.c`, `netlink_dump`); an event is smaller still.
const LARGEST_DATAGRAM: usize = 64 * 1024;

/// Bytes of a netlink header, `struct nlmsghdr`.
const HEADER: usize = 16;

/// A socket of the family `NETLINK_ROUTE`.
pub(super) struct Socket {
    inner: TokioSocket,
    buffer: BytesMut,
    sequence: u32,
}

impl Socket {
    /// A socket for requests that also hears the given multicast groups.
    pub(super) fn open(groups: &[u32]) -> io::Result<Socket> {
        let mut inner = TokioSocket::new(NETLINK_ROUTE)?;
        inner.socket_mut().bind(&SocketAddr::new(0, 0))?;
        for group in groups {
            inner.socket_mut().add_membership(*group)?;
        }
        Ok(Socket { inner, buffer: BytesMut::with_capacity(LARGEST_DATAGRAM), sequence: 0 })
    }

    /// Asks for a receive buffer of so many bytes. The kernel gives what `net.core.rmem_max` allows.
    pub(super) fn set_receive_buffer(&self, bytes: u32) -> io::Result<()> {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self.inner.socket_ref().set_rx_buf_sz(bytes)
    }

    /// Sends a request for a dump; `body` is the header of the request's kind. Returns the sequence number that the
    /// answer will bear.
    pub(super) async fn request_dump(&mut self, kind: u16, body: &[u8]) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = vec![0; HEADER + body.len()];
        let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
        let mut header = NetlinkBuffer::new(&mut request);
        header.set_length(length);
        header.set_message_type(kind);
        header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
        header.set_sequence_number(self.sequence);
        request[HEADER..].copy_from_slice(body);
        self.inner.send_to(&request, &SocketAddr::new(0, 0)).await?;
        Ok(self.sequence)
    }

    /// Waits for a datagram of the kernel's. Nothing is lost where the future is dropped before it is ready.
    pub(super) async fn receive(&mut self) -> io::Result<&[u8]> {
        loop {
            self.clear();
            let sender = self.inner.recv_from(&mut self.buffer).await?;
            if sender.port_number() == 0 {
                return Ok(&self.buffer);
            }
        }
    }

    /// A datagram that is there already. It asks the kernel itself: the runtime may not have heard of it yet.
    pub(super) fn try_receive(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            self.clear();
            match self.inner.socket_ref().recv_from(&mut self.buffer, 0) {
                Ok((_, sender)) if sender.port_number() == 0 => return Ok(Some(&self.buffer)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.reserve(LARGEST_DATAGRAM);
    }
}

/// Whether the kernel dropped messages because the receive buffer was full.
pub(super) fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ENOBUFS)
}

/// A message inside a datagram.
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

impl Message<'_> {
    /// The error code that `NLMSG_ERROR` and `NLMSG_DONE` begin with, as an error. Old kernels send none with DONE.
    pub(super) fn outcome(&self) -> io::Result<()> {
        match self.payload.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes)) {
            Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            _ => Ok(()),
        }
    }
}

/// The messages of a datagram. One that is cut off is an error: what follows it cannot be found.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, DecodeError>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let buffer = match NetlinkBuffer::new_checked(datagram) {
            Ok(buffer) => buffer,
            Err(error) => {
                datagram = &[];
                return Some(Err(error));
            }
        };
        let end = buffer.length() as usize;
        let message = Message {
            kind: buffer.message_type(),
            flags: buffer.flags(),
            sequence: buffer.sequence_number(),
            payload: datagram.get(HEADER..end).unwrap_or_default(),
        };
        datagram = datagram.get(end.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(message))
    })
}
