//! A client of HTTP/2 that does what no library lets one do: byte by byte (RFC 9113), over TLS.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
/// END_STREAM and END_HEADERS.
const WHOLE: u8 = 5;

/// What to trust and speak.
pub(crate) fn settings(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A connection.
pub(crate) struct Http2 {
    stream: StreamOwned<ClientConnection, TcpStream>,
    next: u32,
}

impl Http2 {
    /// Connects, and allows answers so many bytes a stream.
    pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>, window: u32) -> io::Result<Http2> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = IpAddr::from([127, 0, 0, 1]).into();
        let mut stream = StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp);
        stream.write_all(PREFACE)?;
        let mut http2 = Http2 { stream, next: 1 };
        // SETTINGS_INITIAL_WINDOW_SIZE
        http2.frame(SETTINGS, 0, 0, &[&[0, 4], &window.to_be_bytes()[..]].concat())?;
        Ok(http2)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat())?;
        self.stream.flush()
    }

    /// Asks for a path, and returns its stream.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<u32> {
        let stream = self.next;
        self.next += 2;
        // Of HPACK's static table: GET, https, and names with values of ours.
        let mut block = vec![0x82, 0x87];
        for (name, value) in [(0x04, path), (0x01, "test")] {
            block.push(name);
            block.push(u8::try_from(value.len()).unwrap());
            block.extend(value.as_bytes());
        }
        self.frame(HEADERS, WHOLE, stream, &block)?;
        Ok(stream)
    }

    /// Asks no more for what a stream was to bring.
    pub(crate) fn reset(&mut self, stream: u32) -> io::Result<()> {
        // CANCEL
        self.frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])
    }

    /// Allows a stream so many bytes more.
    pub(crate) fn allow(&mut self, stream: u32, bytes: u32) -> io::Result<()> {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
    }

    /// The next frame: its type and stream.
    pub(crate) fn read(&mut self) -> io::Result<(u8, u32)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        io::copy(&mut Read::by_ref(&mut self.stream).take(u64::from(length)), &mut io::sink())?;
        Ok((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
    }
}
