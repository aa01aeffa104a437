//! What somebody asks about, as text.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::model::{Name, host_route};

/// An address, a CIDR, a host or a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An address.
    Address(IpAddr),
    /// A prefix wider than one address, masked.
    Cidr(IpNet),
    /// A host, by its Calico node name.
    Host(Name),
    /// A pod, by namespace and name.
    Pod {
        /// Its namespace.
        namespace: Name,
        /// Its name.
        pod: Name,
    },
}

/// Why a text is nothing that can be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Nothing is written.
    #[error("nothing to explain: give an address, a CIDR, a host, or NAMESPACE/POD")]
    Empty,
    /// No name is as long.
    #[error("longer than {} characters, and no address or name is", Subject::LONGEST)]
    TooLong,
    /// Blanks or control characters.
    #[error("neither addresses nor names have blanks or control characters in them")]
    Characters,
    /// An address with a length that it cannot have.
    #[error("{0} is no CIDR: an IPv4 prefix has at most 32 bits, an IPv6 prefix at most 128")]
    Cidr(String),
    /// More parts than a namespace and a pod.
    #[error("{0} is neither a CIDR nor NAMESPACE/POD")]
    Parts(String),
}

impl Subject {
    /// The longest text: a namespace has at most 63 characters, a pod's or a host's name 253.
    pub const LONGEST: usize = 320;
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Subject, SubjectError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SubjectError::Empty);
        }
        if text.chars().count() > Subject::LONGEST {
            return Err(SubjectError::TooLong);
        }
        if text.chars().any(|it| it.is_control() || it.is_whitespace()) {
            return Err(SubjectError::Characters);
        }
        // What a log says, a port behind it.
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Subject::Address(socket.ip()));
        }
        let text = match text.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') && port.parse::<u16>().is_ok() => name,
            _ => text,
        };
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Subject::Address(address));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            let net = net.trunc();
            return Ok(host_route(&net).map_or(Subject::Cidr(net), Subject::Address));
        }
        match text.split_once('/') {
            None => Ok(Subject::Host(text.into())),
            Some((before, _)) if before.parse::<IpAddr>().is_ok() => Err(SubjectError::Cidr(text.to_owned())),
            Some((namespace, pod)) if !namespace.is_empty() && !pod.is_empty() && !pod.contains('/') => {
                Ok(Subject::Pod { namespace: namespace.into(), pod: pod.into() })
            }
            Some(_) => Err(SubjectError::Parts(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Address(address) => address.fmt(f),
            Subject::Cidr(net) => net.fmt(f),
            Subject::Host(name) => f.write_str(name),
            Subject::Pod { namespace, pod } => write!(f, "{namespace}/{pod}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_text_means() {
        let of = |text: &str| text.parse::<Subject>();
        assert_eq!(of(" 10.0.0.1 "), Ok(Subject::Address("10.0.0.1".parse().unwrap())));
        assert_eq!(of("10.0.0.1/32"), of("10.0.0.1"));
        assert_eq!(of("10.0.0.1/26"), Ok(Subject::Cidr("10.0.0.0/26".parse().unwrap())));
        assert_eq!(of("fd00::1/128"), of("fd00::1"));
        assert_eq!(of("rack-1.example"), Ok(Subject::Host("rack-1.example".into())));
        assert_eq!(of("default/web-0"), Ok(Subject::Pod { namespace: "default".into(), pod: "web-0".into() }));
        for text in ["10.0.0.1:8080", "10.0.0.1", "[10.0.0.1]"] {
            assert_eq!(of(text), of("10.0.0.1"), "{text}");
        }
        for text in ["[fd00::1]:443", "[fd00::1]", "fd00::1"] {
            assert_eq!(of(text), Ok(Subject::Address("fd00::1".parse().unwrap())), "{text}");
        }
        assert_eq!(of("web-0:80"), of("web-0"));
        assert_eq!(of("default/web-0:80"), of("default/web-0"));
        assert_eq!(of("web-0:http"), Ok(Subject::Host("web-0:http".into())));
        assert_eq!(of(""), Err(SubjectError::Empty));
        assert_eq!(of("a b"), Err(SubjectError::Characters));
        assert_eq!(of("10.0.0.1/33"), Err(SubjectError::Cidr("10.0.0.1/33".to_owned())));
        assert_eq!(of("a/b/c"), Err(SubjectError::Parts("a/b/c".to_owned())));
        assert_eq!(of(&"x".repeat(321)), Err(SubjectError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_is_written_the_same(text in "\\PC{0,40}") {
            if let Ok(subject) = text.parse::<Subject>() {
                prop_assert_eq!(subject.to_string().parse::<Subject>(), Ok(subject));
            }
        }
    }
}
