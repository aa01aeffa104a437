//! Where to listen.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::str::FromStr;

/// An address as `--web.listen-address` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `:19179`: all interfaces, IPv6 and IPv4.
    All(u16),
    /// `127.0.0.1:19179`, `[::1]:19179`.
    Address(SocketAddr),
    /// `localhost:19179`, looked up when it is bound.
    Name(String, u16),
}

/// Text that is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address to listen on: use :PORT, ADDRESS:PORT, [IPV6]:PORT or NAME:PORT")]
pub struct ListenAddressError(String);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    address: ListenAddress,
    source: io::Error,
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<ListenAddress, ListenAddressError> {
        if let Ok(address) = text.parse() {
            return Ok(ListenAddress::Address(address));
        }
        let error = || ListenAddressError(text.to_string());
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        // `u16` would also take `+1`.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error());
        }
        let port = port.parse().map_err(|_| error())?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        match host {
            "" => Ok(ListenAddress::All(port)),
            // What looks like an IPv4 address and is none would be looked up as a name, and the error be about DNS.
            _ if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Err(error()),
            _ if host.bytes().all(is_name) => Ok(ListenAddress::Name(host.to_string(), port)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::All(port) => write!(f, ":{port}"),
            ListenAddress::Address(address) => address.fmt(f),
            ListenAddress::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl ListenAddress {
    /// A listener that does not block.
    pub(super) fn bind(&self) -> Result<TcpListener, BindError> {
        let listen = || {
            let listener = match self {
                ListenAddress::All(port) => all_interfaces(*port)?,
                ListenAddress::Address(address) => TcpListener::bind(address)?,
                ListenAddress::Name(name, port) => {
                    let addresses: Vec<_> = (name.as_str(), *port).to_socket_addrs()?.collect();
                    TcpListener::bind(addresses.as_slice())?
                }
            };
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        listen().map_err(|source| BindError { address: self.clone(), source })
    }
}

/// `[::]` takes IPv4 as well; a host whose IPv6 is switched off has only `0.0.0.0`.
fn all_interfaces(port: u16) -> io::Result<TcpListener> {
    let on = |address: IpAddr| TcpListener::bind((address, port));
    match on(Ipv6Addr::UNSPECIFIED.into()) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            on(Ipv4Addr::UNSPECIFIED.into())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            (":19179", ListenAddress::All(19179)),
            (":0", ListenAddress::All(0)),
            ("127.0.0.1:1", ListenAddress::Address(([127, 0, 0, 1], 1).into())),
            ("[::1]:1", ListenAddress::Address((Ipv6Addr::LOCALHOST, 1).into())),
            ("node-1.example:80", ListenAddress::Name("node-1.example".into(), 80)),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address, expected);
            assert_eq!(address.to_string(), text);
        }
        for text in ["", "19179", "host", "host:", ":+1", ":65536", ":-1", "::1:80", "1.2.3:80", "a b:1", "http://x:1"]
        {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = ListenAddress::All(0).bind().unwrap();
        let address = ListenAddress::All(taken.local_addr().unwrap().port());
        let error = address.bind().unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }
}
