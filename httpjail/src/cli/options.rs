//! Values of command-line options, parsed into types.

use std::{
    ffi::OsString,
    net::IpAddr,
    num::{NonZeroU16, NonZeroUsize},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;

use crate::policy::{Host, HostPattern};

/// Each worker has an engine and a pool of connections of its own; more would only cost memory.
const MOST_WORKERS: usize = 64;

/// `--resolve NAME=ADDR`: the proxy takes this address for that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The canonical name.
    pub name: Host,
    /// The address that stands for it.
    pub address: IpAddr,
}

/// `--client-cert HOST=CERT,KEY`: the proxy shows this certificate to those origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    /// The origins.
    pub hosts: HostPattern,
    /// The file of the certificate, and of those between it and a root.
    pub certificate: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
}

/// `--allow-private[=CIDR]`: special addresses that the proxy may dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateRange {
    /// All of them.
    All,
    /// Those in this network.
    Net(IpNet),
}

/// `--timeout SECS`: how long the command may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeout(pub(super) Duration);

/// Why the value of an option was not understood; completes "invalid value: ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No `=` between name and address.
    #[error("expected NAME=ADDR, such as api.test=127.0.0.1")]
    ResolveForm,
    /// The left side is no domain name.
    #[error("`{0}` isn't a domain name")]
    ResolveName(String),
    /// The right side is no address.
    #[error("`{0}` isn't an IP address")]
    ResolveAddress(String),
    /// Not a host and two files.
    #[error("expected HOST=CERT,KEY, such as api.test=cert.pem,key.pem (paths without commas)")]
    ClientCertForm,
    /// The left side is neither a host nor all names below one.
    #[error("`{0}` isn't a host, nor a pattern such as *.example.com")]
    Pattern(String),
    /// Neither a network nor an address.
    #[error("`{0}` isn't an address range, such as 10.0.0.0/8 or fd00::/8")]
    Range(String),
    /// Bits beyond the prefix are set, so it's unclear what was meant.
    #[error("`{given}` has bits set beyond its prefix; did you mean {meant}?")]
    RangeHostBits {
        /// As given.
        given: String,
        /// The network that holds it.
        meant: IpNet,
    },
    /// A path whose meaning depends on where httpjail is started, or none.
    #[error("`{}` isn't a path from the root, such as /run/docker.sock", .0.display())]
    SocketPath(PathBuf),
    /// The name of an abstract socket.
    #[error(
        "abstract sockets such as `{}` can't be opened one by one: Landlock keeps the jail from all \
         of them or from none",
        .0.display()
    )]
    AbstractSocket(PathBuf),
    /// Nothing, or a value with its name.
    #[error("expected the name of a variable, such as LANG, without a value")]
    Variable,
    /// Not a port that a program can listen at.
    #[error("expected a TCP port, from 1 to 65535")]
    Port,
    /// Not a number of threads that make sense.
    #[error("expected a number of threads, from 1 to {MOST_WORKERS}")]
    Workers,
    /// Not a positive number of seconds.
    #[error("expected a number of seconds above zero, such as 30 or 0.5")]
    Timeout,
}

impl FromStr for Resolve {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let (name, address) = text.split_once('=').ok_or(OptionError::ResolveForm)?;
        let parsed = match Host::parse(name) {
            Ok(parsed @ Host::Name(_)) => parsed,
            Ok(Host::Ip(_)) | Err(_) => return Err(OptionError::ResolveName(name.to_owned())),
        };
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bare {
            Some(inner) => inner.parse().map(IpAddr::V6).ok(),
            None => address.parse().ok(),
        }
        .ok_or_else(|| OptionError::ResolveAddress(address.to_owned()))?;
        Ok(Self { name: parsed, address })
    }
}

impl FromStr for ClientCert {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let (hosts, files) = text.split_once('=').ok_or(OptionError::ClientCertForm)?;
        let mut files = files.split(',').filter(|file| !file.is_empty()).map(PathBuf::from);
        let (Some(certificate), Some(key), None) = (files.next(), files.next(), files.next())
        else {
            return Err(OptionError::ClientCertForm);
        };
        // A name for everybody to see is hardly meant.
        let some = hosts.parse().ok().filter(|hosts| *hosts != HostPattern::Any);
        let hosts = some.ok_or_else(|| OptionError::Pattern(hosts.to_owned()))?;
        Ok(Self { hosts, certificate, key })
    }
}

impl FromStr for PrivateRange {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        let net: IpNet = text.parse().map_err(|_| OptionError::Range(text.to_owned()))?;
        if net.trunc() != net {
            return Err(OptionError::RangeHostBits { given: text.to_owned(), meant: net.trunc() });
        }
        Ok(Self::Net(net))
    }
}

impl FromStr for Timeout {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let seconds: f64 = text.parse().map_err(|_| OptionError::Timeout)?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(limit) if plain && !limit.is_zero() => Ok(Self(limit)),
            Ok(_) | Err(_) => Err(OptionError::Timeout),
        }
    }
}

/// `--workers N`: a number of threads.
pub(super) fn workers(text: &str) -> Result<NonZeroUsize, OptionError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= MOST_WORKERS);
    number.filter(|_| plain).ok_or(OptionError::Workers)
}

/// `--publish PORT`: a TCP port.
pub(super) fn port(text: &str) -> Result<NonZeroU16, OptionError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain).ok_or(OptionError::Port)
}

/// `--allow-unix PATH`: a socket, or a folder of such.
///
/// # Errors
///
/// When it is no absolute path.
pub(super) fn socket_path(word: OsString) -> Result<PathBuf, OptionError> {
    let path = PathBuf::from(word);
    match path.as_os_str().as_bytes() {
        [b'@', ..] => Err(OptionError::AbstractSocket(path)),
        _ if Path::is_absolute(&path) => Ok(path),
        _ => Err(OptionError::SocketPath(path)),
    }
}

/// `--keep-env NAME` and its like: what a variable can be called.
///
/// # Errors
///
/// When no variable can be called so.
pub(super) fn variable(name: OsString) -> Result<OsString, OptionError> {
    let is_name = !name.is_empty() && !name.as_bytes().contains(&b'=');
    if is_name { Ok(name) } else { Err(OptionError::Variable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_addresses_with_or_without_brackets() {
        for (text, name, address) in [
            ("a.test=127.0.0.1", "a.test", "127.0.0.1"),
            ("A.Test.=::1", "a.test", "::1"),
            ("a.test=[::1]", "a.test", "::1"),
        ] {
            let resolve: Resolve = text.parse().unwrap();
            assert_eq!(resolve.name.to_string(), name, "{text}");
            assert_eq!(resolve.address, address.parse::<IpAddr>().unwrap(), "{text}");
        }
    }

    #[test]
    fn refuses_unclear_names_and_addresses() {
        for text in [
            "",
            "a.test",
            "=::1",
            "a.test=",
            "a.test=b",
            "a.test=[127.0.0.1]",
            "1.2.3.4=::1",
            "a.test=[::1",
            "a.test=1.2.3.4:80",
            "a b=::1",
        ] {
            assert!(text.parse::<Resolve>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_hosts_with_their_certificates() {
        for (text, hosts, certificate, key) in [
            ("A.test=/c.pem,k.pem", "a.test", "/c.pem", "k.pem"),
            ("*.a.test=c=1,k=2", "*.a.test", "c=1", "k=2"),
            ("[::1]=c,k", "[::1]", "c", "k"),
        ] {
            let read: ClientCert = text.parse().unwrap();
            let (hosts, certificate, key) =
                (hosts.parse().unwrap(), certificate.into(), key.into());
            assert_eq!(read, ClientCert { hosts, certificate, key }, "{text}");
        }
        for text in ["", "a.test", "a.test=", "a.test=c", "a.test=c,", "a.test=,k", "a.test=c,k,x"]
        {
            assert_eq!(text.parse::<ClientCert>(), Err(OptionError::ClientCertForm), "{text}");
        }
        for text in ["=c,k", "*=c,k", "*.1.2.3.4=c,k", "a.test:443=c,k", "https://a.test=c,k"] {
            let error = text.parse::<ClientCert>().unwrap_err();
            assert!(matches!(error, OptionError::Pattern(_)), "{text}: {error}");
        }
    }

    #[test]
    fn reads_ranges_and_single_addresses() {
        for (text, net) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("127.0.0.1", "127.0.0.1/32"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(text.parse(), Ok(PrivateRange::Net(net.parse().unwrap())), "{text}");
        }
    }

    #[test]
    fn refuses_ranges_that_could_mean_two_things() {
        assert_eq!(
            "10.1.2.3/8".parse::<PrivateRange>().unwrap_err().to_string(),
            "`10.1.2.3/8` has bits set beyond its prefix; did you mean 10.0.0.0/8?",
        );
        for text in ["", "10", "10.0.0.0/33", "localhost", "ALL"] {
            assert!(text.parse::<PrivateRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_ports() {
        assert_eq!(port("8080").map(NonZeroU16::get), Ok(8080));
        for text in ["", "0", "65536", "8080:80", "+80", "-1", "true"] {
            assert_eq!(port(text), Err(OptionError::Port), "{text}");
        }
    }

    #[test]
    fn reads_numbers_of_threads() {
        assert_eq!(workers("4").map(NonZeroUsize::get), Ok(4));
        for text in ["", "0", "65", "+1", "-1", "1.5", "all"] {
            assert_eq!(workers(text), Err(OptionError::Workers), "{text}");
        }
    }

    #[test]
    fn reads_seconds_above_zero_only() {
        assert_eq!("30".parse(), Ok(Timeout(Duration::from_secs(30))));
        assert_eq!("0.25".parse(), Ok(Timeout(Duration::from_millis(250))));
        for text in
            ["", "0", "0.0", "-1", "1e9", "inf", "nan", "5s", "+5", "99999999999999999999999"]
        {
            assert_eq!(text.parse::<Timeout>(), Err(OptionError::Timeout), "{text}");
        }
    }
}
