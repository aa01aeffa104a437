//! The proxy between us and the API server, chosen and spoken to as Go's clients do: `proxy-url` of a kubeconfig, else
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` (`golang.org/x/net/http/httpproxy`).

use std::fmt;
use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::http::Uri;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest answer to CONNECT that is read.
const LONGEST_HEAD: usize = 16 << 10;

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS, by the system's authorities.
    Https,
    /// SOCKS 5; names are left to the proxy.
    Socks5,
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// How it is spoken to.
    pub kind: Kind,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, as they are.
    user: Option<(String, String)>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.user.is_some() { "…@" } else { "" };
        write!(f, "{:?}({user}{}:{})", self.kind, self.host, self.port)
    }
}

impl Proxy {
    /// A proxy's URL; what has no scheme is HTTP.
    ///
    /// # Errors
    /// It is none that can be used. The text does not repeat it: it may hold a password.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        let wrong = || "no proxy that can be used; write http://, https:// or socks5://HOST:PORT".to_owned();
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (kind, port) = match uri.scheme_str() {
            Some("http") => (Kind::Http, 80),
            Some("https") => (Kind::Https, 443),
            Some("socks5" | "socks5h") => (Kind::Socks5, 1080),
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|it| !it.host().is_empty()).ok_or_else(wrong)?;
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            (decoded(name), decoded(password))
        });
        let port = uri.port_u16().unwrap_or(port);
        Ok(Proxy { kind, host: bare(authority.host()).to_owned(), port, user })
    }

    /// The proxy that the environment names for a server, if it does.
    ///
    /// # Errors
    /// What it names cannot be used; the text names the variable.
    pub fn from_environment(
        server: &Uri,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Proxy>, (String, String)> {
        let over_tls = server.scheme_str() != Some("http");
        let names = if over_tls { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
        let find = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| Some((name, variable(name).filter(|it| !it.is_empty())?)))
        };
        let Some((name, value)) = find(names) else { return Ok(None) };
        let host = bare(server.host().unwrap_or_default());
        let port = server.port_u16().unwrap_or(if over_tls { 443 } else { 80 });
        let without = find(["NO_PROXY", "no_proxy"]).map(|(_, value)| value).unwrap_or_default();
        if is_exempt(host, port, &without) {
            return Ok(None);
        }
        Proxy::parse(&value).map(Some).map_err(|what| (name.to_owned(), what))
    }

    /// What an HTTP proxy is told of who asks.
    pub(super) fn authorization(&self) -> Option<String> {
        let (name, password) = self.user.as_ref()?;
        Some(format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
    }

    /// Has the proxy connect to a server. What is sent over the stream then goes there.
    ///
    /// # Errors
    /// The proxy refuses, or is none.
    pub(super) async fn tunnel<S>(&self, stream: &mut S, host: &str, port: u16) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.kind {
            Kind::Http | Kind::Https => self.connect(stream, host, port).await,
            Kind::Socks5 => self.socks(stream, host, port).await,
        }
        .map_err(|error| io::Error::other(format!("proxy {}:{}: {error}", self.host, self.port)))
    }

    async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        host: &str,
        port: u16,
    ) -> io::Result<()> {
        let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let who = self.authorization().map(|who| format!("Proxy-Authorization: {who}\r\n")).unwrap_or_default();
        let request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{who}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        // Byte by byte: what follows the head is the server's.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > LONGEST_HEAD {
                return Err(io::Error::other("no HTTP"));
            }
            head.push(stream.read_u8().await?);
        }
        let first = String::from_utf8_lossy(&head);
        let first = first.lines().next().unwrap_or_default();
        let mut words = first.splitn(3, ' ');
        match (words.next(), words.next()) {
            (Some(version), Some(status)) if version.starts_with("HTTP/1.") && status.starts_with('2') => Ok(()),
            _ => {
                let first: String = first.chars().filter(|it| !it.is_control()).take(100).collect();
                Err(io::Error::other(format!("it refuses: {first}")))
            }
        }
    }

    /// RFC 1928, and 1929 where there is a user.
    async fn socks<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S, host: &str, port: u16) -> io::Result<()> {
        let refused = |what: &str| Err(io::Error::other(what.to_owned()));
        let length = |text: &str| {
            u8::try_from(text.len()).map_err(|_| io::Error::other("a name or password of more than 255 bytes"))
        };
        let methods: &[u8] = if self.user.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(methods).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        match (chosen, &self.user) {
            ([5, 0], _) => {}
            ([5, 2], Some((name, password))) => {
                let mut who = vec![1, length(name)?];
                who.extend_from_slice(name.as_bytes());
                who.push(length(password)?);
                who.extend_from_slice(password.as_bytes());
                stream.write_all(&who).await?;
                let mut said = [0; 2];
                stream.read_exact(&mut said).await?;
                if said[1] != 0 {
                    return refused("it refuses the user");
                }
            }
            _ => return refused("it speaks no SOCKS 5, or wants another kind of user"),
        }
        let mut request = vec![5, 1, 0];
        match host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend_from_slice(&address.octets());
            }
            Err(_) => {
                request.extend_from_slice(&[3, length(host)?]);
                request.extend_from_slice(host.as_bytes());
            }
        }
        request.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&request).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        if answer[1] != 0 {
            return refused(&format!("it cannot connect (reply {})", answer[1]));
        }
        let bound = match answer[3] {
            1 => 4,
            4 => 16,
            3 => usize::from(stream.read_u8().await?),
            _ => return refused("an answer that is none"),
        };
        let mut rest = vec![0; bound + 2];
        stream.read_exact(&mut rest).await.map(drop)
    }
}

/// A host without brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether `NO_PROXY` names a server, or it is this host: that is never asked for over a proxy.
fn is_exempt(host: &str, port: u16, without: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|it| it.is_loopback()) {
        return true;
    }
    without.split(',').map(str::trim).filter(|it| !it.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" {
            return true;
        }
        if let Ok(net) = entry.parse::<IpNet>() {
            return address.is_some_and(|it| net.contains(&it));
        }
        let (name, of_port) = match entry.rsplit_once(':') {
            // A bare IPv6 address has colons as well.
            Some((name, digits)) if entry.parse::<IpAddr>().is_err() => (name.to_owned(), digits.parse::<u16>().ok()),
            _ => (entry.clone(), None),
        };
        if of_port.is_some_and(|it| it != port) {
            return false;
        }
        let name = bare(&name);
        if let Ok(named) = name.parse::<IpAddr>() {
            return address == Some(named);
        }
        let name = name.strip_prefix('*').unwrap_or(name);
        match name.strip_prefix('.') {
            Some(_) => host.ends_with(name),
            None => host == name || host.ends_with(&format!(".{name}")),
        }
    })
}

/// Percent-decoded.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        match digits.and_then(|it| u8::from_str_radix(it, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_as_go_does() {
        let proxy = |server: &str, variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
            Proxy::from_environment(&server.parse().unwrap(), &find).map(|it| it.map(|it| format!("{it:?}")))
        };
        let some = |text: &str| Ok(Some(text.to_owned()));
        let https = ("HTTPS_PROXY", "http://p:3128");
        assert_eq!(proxy("https://api:6443", &[]), Ok(None));
        assert_eq!(proxy("https://api:6443", &[https]), some("Http(p:3128)"));
        assert_eq!(proxy("https://api:6443", &[("https_proxy", "p")]), some("Http(p:80)"));
        assert_eq!(proxy("https://api:6443", &[("HTTP_PROXY", "p")]), Ok(None));
        assert_eq!(proxy("http://api:6443", &[("HTTP_PROXY", "https://u:s3cret@p")]), some("Https(…@p:443)"));
        assert_eq!(proxy("https://api", &[("HTTPS_PROXY", "socks5://[::1]:9")]), some("Socks5(::1:9)"));
        for (server, without, is_exempt) in [
            ("https://localhost:1", "", true),
            ("https://127.0.0.9", "", true),
            ("https://[::1]", "", true),
            ("https://10.96.0.1", "10.96.0.0/12", true),
            ("https://10.112.0.1", "10.96.0.0/12", false),
            ("https://10.96.0.1", "10.96.0.1", true),
            ("https://[fd00::1]:6443", "fd00::/8", true),
            ("https://[fd00::1]:6443", "fd00::1", true),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", true),
            ("https://[fd00::1]:6443", "[fd00::1]:443", false),
            ("https://api.example.org", "example.org", true),
            ("https://api.example.org", ".example.org, other", true),
            ("https://api.example.org", "*.example.org", true),
            ("https://example.org", ".example.org", false),
            ("https://badexample.org", "example.org", false),
            ("https://API.example.org", "Example.ORG", true),
            ("https://api:6443", "api:6443", true),
            ("https://api:6443", "api:443", false),
            ("https://api", "api:443", true),
            ("https://api", "*", true),
        ] {
            let found = proxy(server, &[https, ("NO_PROXY", without)]).unwrap();
            assert_eq!(found.is_none(), is_exempt, "{server} {without}");
        }
        let (name, what) = proxy("https://api", &[("HTTPS_PROXY", "ftp://u:s3cret@p")]).unwrap_err();
        assert!(name == "HTTPS_PROXY" && !what.contains("s3cret"), "{what}");
    }

    #[test]
    fn a_user_is_decoded() {
        let proxy = Proxy::parse("http://me:a%40b%3a@p:1").unwrap();
        assert_eq!(proxy.user, Some(("me".to_owned(), "a@b:".to_owned())));
        assert_eq!(decoded("100%"), "100%");
    }
}
