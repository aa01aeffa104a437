//! A netlink socket that loses nothing silently: an overrun is an error, a datagram is seen whole or refused.

use std::io;

use bytes::BytesMut;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::decode::{Decode, Told};

/// `ENOBUFS`: the kernel had more to say than the receive buffer holds, and dropped it.
const ENOBUFS: i32 = 105;

/// The kernel makes dumps in parts of 32 KiB at most (`af_netlink.c`, `netlink_dump`); an event is smaller still.
const LARGEST_DATAGRAM: usize = 64 * 1024;

/// A socket of the family `NETLINK_ROUTE`.
pub(super) struct Socket {
    inner: TokioSocket,
    buffer: BytesMut,
    sequence: u32,
}

impl Socket {
    /// A socket for requests that also hears the given multicast groups.
    pub(super) fn open(groups: &[MulticastGroup]) -> io::Result<Socket> {
        let mut inner = TokioSocket::new(NETLINK_ROUTE)?;
        inner.socket_mut().bind(&SocketAddr::new(0, 0))?;
        for group in groups {
            inner.socket_mut().add_membership(*group as u32)?;
        }
        Ok(Socket { inner, buffer: BytesMut::with_capacity(LARGEST_DATAGRAM), sequence: 0 })
    }

    /// A socket for requests whose filters the kernel looks at (`NETLINK_GET_STRICT_CHK`). A kernel before 4.20 knows no
    /// such thing and lists everything.
    pub(super) fn open_strict() -> io::Result<Socket> {
        let socket = Socket::open(&[])?;
        if let Err(error) = socket.inner.socket_ref().set_netlink_get_strict_chk(true) {
            tracing::debug!(%error, "the kernel does not filter lists");
        }
        Ok(socket)
    }

    /// Asks for a receive buffer of so many bytes. The kernel gives what `net.core.rmem_max` allows.
    pub(super) fn set_receive_buffer(&self, bytes: u32) -> io::Result<()> {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self.inner.socket_ref().set_rx_buf_sz(bytes)
    }

    /// Asks for everything of the request's kind. Returns the sequence number that the answer will bear.
    pub(super) async fn request_dump(&mut self, request: RouteNetlinkMessage) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(request);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.inner.send_to(&bytes, &SocketAddr::new(0, 0)).await?;
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

/// The messages of a datagram. One that is cut off is an error that ends them: what follows it cannot be found.
pub(super) fn messages<C: Decode>(
    datagram: &[u8],
) -> impl Iterator<Item = Result<NetlinkMessage<Told<C>>, DecodeError>> {
    messages_of(datagram, |_, _| true)
}

/// Those that are of interest by their type and by what follows their header: of the others nothing is made at all.
pub(super) fn messages_of<C: Decode>(
    mut datagram: &[u8],
    interests: impl Fn(u16, &[u8]) -> bool,
) -> impl Iterator<Item = Result<NetlinkMessage<Told<C>>, DecodeError>> {
    std::iter::from_fn(move || {
        while !datagram.is_empty() {
            let (here, mut passed_over) = (datagram, false);
            let mut length = here.len();
            if let Ok(header) = NetlinkBuffer::new_checked(here) {
                length = header.length() as usize;
                passed_over = !interests(header.message_type(), header.payload());
            }
            datagram = here.get(length.next_multiple_of(4)..).unwrap_or_default();
            if !passed_over {
                return Some(NetlinkMessage::deserialize(here));
            }
        }
        None
    })
}
