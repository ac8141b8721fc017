//! `HTTPJAIL_HTTP_BIND` and `HTTPJAIL_HTTPS_BIND`: where a proxy listens that programs are told of.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The variables, for requests by `http` and by `https`. Either place serves both.
const VARIABLES: [&str; 2] = ["HTTPJAIL_HTTP_BIND", "HTTPJAIL_HTTPS_BIND"];

/// Where to listen, as far as the user says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binds {
    /// For plain HTTP.
    pub http: Option<Bind>,
    /// For HTTPS.
    pub https: Option<Bind>,
}

/// One place to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    ip: Option<IpAddr>,
    port: Option<u16>,
}

/// A variable that names no place; completes "failed to ...".
#[derive(Debug, thiserror::Error)]
#[error("understand {variable}={value:?}")]
pub struct BindError {
    variable: &'static str,
    value: OsString,
}

impl BindError {
    /// What the user can do about it.
    pub(super) fn hint() -> String {
        "write it as ADDRESS:PORT, ADDRESS, PORT or :PORT, such as 127.0.0.1:8080; an IPv6 address \
         before a port stands in brackets"
            .to_owned()
    }
}

impl Binds {
    /// What the environment says, which `look_up` knows. An empty value says nothing.
    ///
    /// # Errors
    ///
    /// When a value is no place.
    pub(super) fn from_environment(
        look_up: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, BindError> {
        let [http, https] = VARIABLES.map(|variable| {
            let Some(value) = look_up(variable).filter(|value| !value.is_empty()) else {
                return Ok(None);
            };
            let bind = value.to_str().and_then(Bind::parse);
            bind.map(Some).ok_or(BindError { variable, value })
        });
        Ok(Self { http: http?, https: https? })
    }
}

impl Bind {
    /// `ip:port`, `:port`, `port` or `ip`.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self { ip: Some(address.ip()), port: Some(address.port()) });
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self { ip: Some(ip), port: None });
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return Some(Self { ip: Some(inner.parse::<Ipv6Addr>().ok()?.into()), port: None });
        }
        let port = text.strip_prefix(':').unwrap_or(text);
        let is_plain = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self { ip: None, port: Some(port.parse().ok().filter(|_| is_plain)?) })
    }

    /// The address to bind. Without one it is this machine's alone: a proxy that anybody on the
    /// network can use must be asked for.
    pub fn address(self, default_port: u16) -> SocketAddr {
        let ip = self.ip.unwrap_or(Ipv4Addr::LOCALHOST.into());
        SocketAddr::new(ip, self.port.unwrap_or(default_port))
    }

    /// Whether it says no address, which other programs take for all of them.
    pub fn is_bare(self) -> bool {
        self.ip.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(value: &str) -> Result<Option<Bind>, BindError> {
        let binds =
            Binds::from_environment(|name| (name == "HTTPJAIL_HTTP_BIND").then(|| value.into()))?;
        assert_eq!(binds.https, None);
        Ok(binds.http)
    }

    #[test]
    fn reads_every_form() {
        for (value, address, is_bare) in [
            ("192.0.2.1:3128", "192.0.2.1:3128", false),
            ("0.0.0.0:3128", "0.0.0.0:3128", false),
            ("[::1]:3128", "[::1]:3128", false),
            ("192.0.2.1", "192.0.2.1:8080", false),
            ("::1", "[::1]:8080", false),
            ("[::1]", "[::1]:8080", false),
            ("3128", "127.0.0.1:3128", true),
            (":3128", "127.0.0.1:3128", true),
            ("0", "127.0.0.1:0", true),
            (":0", "127.0.0.1:0", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let bind = http(value).unwrap().unwrap();
            assert_eq!(bind.address(8080).to_string(), address, "{value}");
            assert_eq!(bind.is_bare(), is_bare, "{value}");
        }
        assert_eq!(http("").unwrap(), None);
    }

    #[test]
    fn refuses_what_names_no_place() {
        for value in [
            ":",
            "x",
            "65536",
            "-1",
            "+80",
            "localhost:80",
            "127.0.0.1:",
            "127.0.0.1:x",
            "[::1",
            " 80",
        ] {
            let error = http(value).unwrap_err();
            assert!(error.to_string().contains("HTTPJAIL_HTTP_BIND"), "{value}: {error}");
        }
    }
}
