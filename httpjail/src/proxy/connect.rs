//! CONNECT: the client takes us for its proxy, and asks for a tunnel.
//!
//! The tunnel leads nowhere: what comes through it is told apart, intercepted and judged like what
//! comes over a connection to that target, and nothing is dialled before. So CONNECT itself decides
//! nothing, and has no record.

use http::request::Parts;

use super::{
    coherence::{self, Incoherent},
    connection::{DNS_PORT, Destination, Reach},
};
use crate::policy::{Authority, HostPort};

/// The host and port that a CONNECT request which came over a connection to `destination` names.
pub(super) fn target(destination: &Destination, parts: &Parts) -> Result<Authority, Incoherent> {
    if destination.reach == Reach::Tunnel {
        return Err(Incoherent::Connect);
    }
    let (None, Some(authority)) = (parts.uri.scheme(), parts.uri.authority()) else {
        return Err(Incoherent::Target);
    };
    let HostPort { host, port: Some(port) } = HostPort::parse(authority.as_str())? else {
        return Err(Incoherent::Target);
    };
    if let Some(header) = coherence::host_header(&parts.headers, parts.version)? {
        let named = coherence::parse(header)?;
        // Some clients leave the port out.
        if named.host != host || named.port.is_some_and(|named| named != port) {
            return Err(Incoherent::HostDiffersFromUrl);
        }
    }
    // A connection there is answered by the stub; what a rule opens must not be a way round it.
    if port == DNS_PORT {
        return Err(Incoherent::Dns);
    }
    let target = Authority::new(host, port);
    coherence::not_itself(destination, &target)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, Version};

    use super::*;
    use crate::policy::{AuthorityError, Host, Scheme};

    fn read(target: &str, hosts: &[&str], reach: Reach) -> Result<String, Incoherent> {
        let version = if hosts.is_empty() { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut request = Request::builder().method(Method::CONNECT).version(version).uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let destination = Destination {
            scheme: Scheme::Http,
            authority: Authority::new(Host::parse("proxy.test").unwrap(), 3128),
            requester: "127.0.0.1".parse().unwrap(),
            process: None,
            reach,
        };
        super::target(&destination, &parts).map(|target| target.to_string())
    }

    #[test]
    fn the_target_is_a_host_and_a_port_on_which_the_host_header_agrees() {
        for (target, hosts, read_as) in [
            ("a.test:443", &["a.test:443"][..], "a.test:443"),
            ("A.Test.:22", &["a.test"], "a.test:22"),
            ("a.test:443", &[], "a.test:443"),
            ("[::1]:443", &["[::1]:443"], "[::1]:443"),
        ] {
            assert_eq!(
                read(target, hosts, Reach::Turned).as_deref(),
                Ok(read_as),
                "{target} {hosts:?}"
            );
        }
        for (target, hosts, refusal) in [
            ("a.test", &["a.test"][..], Incoherent::Target),
            ("http://a.test:443/", &["a.test:443"], Incoherent::Target),
            ("/", &["a.test:443"], Incoherent::Target),
            ("a.test:53", &["a.test:53"], Incoherent::Dns),
            ("a.test:443", &["b.test:443"], Incoherent::HostDiffersFromUrl),
            ("a.test:443", &["a.test:80"], Incoherent::HostDiffersFromUrl),
            ("a.test:443", &["proxy.test:3128"], Incoherent::HostDiffersFromUrl),
            ("a.test:443", &["a.test:443", "a.test:443"], Incoherent::HostCount),
            ("u@a.test:443", &["a.test:443"], Incoherent::Authority(AuthorityError::UserInfo)),
        ] {
            assert_eq!(read(target, hosts, Reach::Turned), Err(refusal), "{target} {hosts:?}");
        }
    }

    #[test]
    fn what_is_asked_for_in_a_tunnel_is_no_tunnel() {
        assert_eq!(read("a.test:443", &["a.test:443"], Reach::Tunnel), Err(Incoherent::Connect));
    }
}
