//! From what was judged to addresses that may be dialled.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Options, PrivateAccess, UpstreamError,
    apart::Apart,
    ranges::{self, Special},
};
use crate::policy::{Authority, Host};

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Resolves authorities, and lets through only addresses that may be dialled.
#[derive(Debug)]
pub(super) struct Resolver {
    overrides: HashMap<Host, Vec<IpAddr>>,
    access: PrivateAccess,
    own: Vec<SocketAddr>,
    apart: Apart,
}

impl Resolver {
    /// A resolver under the user's `options`; `own` are the proxy's listeners.
    pub(super) fn new(options: &Options, own: Vec<SocketAddr>) -> Self {
        let mut overrides: HashMap<Host, Vec<IpAddr>> = HashMap::new();
        for (host, address) in &options.resolve {
            overrides.entry(host.clone()).or_default().push(*address);
        }
        Self { overrides, access: options.allow_private.clone(), own, apart: Apart::new() }
    }

    /// The addresses to dial for `authority`, at least one. They are dialled as they are: nothing
    /// is looked up again after the check.
    pub(super) async fn resolve(
        &self,
        authority: &Authority,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        let found = self.look_up(authority).await?;
        let Some(first) = found.first().copied() else {
            return Err(UpstreamError::NoAddress(authority.host().clone()));
        };
        let permitted: Vec<_> =
            found.into_iter().filter(|address| self.check(*address).is_ok()).collect();
        if permitted.is_empty() {
            self.check(first)?;
        }
        Ok(permitted)
    }

    async fn look_up(&self, authority: &Authority) -> Result<Vec<SocketAddr>, UpstreamError> {
        let with_port = |ip: &IpAddr| SocketAddr::new(*ip, authority.port());
        if let Some(addresses) = self.overrides.get(authority.host()) {
            return Ok(addresses.iter().map(with_port).collect());
        }
        let name = match authority.host() {
            Host::Ip(ip) => return Ok(vec![with_port(ip)]),
            Host::Name(name) => name,
        };
        let (name, port) = (name.as_str().to_owned(), authority.port());
        let look_up = self.apart.run(move || (name.as_str(), port).to_socket_addrs());
        let host = || authority.host().clone();
        match timeout(RESOLVE_TIMEOUT, look_up).await {
            Ok(Ok(Ok(addresses))) => Ok(addresses.collect()),
            Ok(Ok(Err(source)) | Err(source)) => {
                Err(UpstreamError::Resolve { host: host(), source })
            }
            Err(_) => Err(UpstreamError::ResolveTimeout(host())),
        }
    }

    fn check(&self, address: SocketAddr) -> Result<(), UpstreamError> {
        let ip = address.ip();
        let own = || ranges::is_own(ranges::unmapped(ip)).then_some(Special::Own);
        if let Some(range) = ranges::special(ip).or_else(own) {
            if !range.is_dialable() {
                return Err(UpstreamError::Unusable { address: ip, range });
            }
            if !self.access.opens(ip) {
                return Err(UpstreamError::Private { address: ip, range });
            }
        }
        let unmapped = SocketAddr::new(ranges::unmapped(ip), address.port());
        if self.own.contains(&unmapped) {
            return Err(UpstreamError::Loop(address));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(resolve: &[(&str, &str)], allow_private: PrivateAccess) -> Resolver {
        let resolve = resolve
            .iter()
            .map(|(name, ip)| (Host::parse(name).unwrap(), ip.parse().unwrap()))
            .collect();
        let options = Options { resolve, allow_private, ..Options::default() };
        Resolver::new(&options, vec!["127.0.0.1:9".parse().unwrap()])
    }

    fn resolve(
        resolver: &Resolver,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        let authority = Authority::new(Host::parse(host).unwrap(), port);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(resolver.resolve(&authority))
    }

    #[test]
    fn forbidden_addresses_are_left_out_and_never_the_only_ones() {
        let resolver = resolver(
            &[
                ("mixed.test", "10.0.0.1"),
                ("mixed.test", "1.2.3.4"),
                ("mixed.test", "::ffff:127.0.0.1"),
                ("inside.test", "10.0.0.1"),
            ],
            PrivateAccess::None,
        );
        let public: SocketAddr = "1.2.3.4:80".parse().unwrap();
        assert_eq!(resolve(&resolver, "mixed.test", 80).unwrap(), [public]);
        for host in ["inside.test", "127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"] {
            let error = resolve(&resolver, host, 80).unwrap_err();
            assert!(matches!(error, UpstreamError::Private { .. }), "{host}: {error}");
            assert!(error.to_string().contains("--allow-private"), "{host}: {error}");
        }
    }

    #[test]
    fn networks_are_opened_one_by_one() {
        let nets = vec!["10.1.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()];
        let resolver = resolver(&[], PrivateAccess::Cidrs(nets));
        for host in ["10.1.2.3", "[::ffff:10.1.2.3]", "[::1]"] {
            resolve(&resolver, host, 80).unwrap();
        }
        for host in ["10.2.0.1", "127.0.0.1", "[fe80::1]"] {
            resolve(&resolver, host, 80).unwrap_err();
        }
    }

    #[test]
    fn the_proxy_never_dials_itself() {
        let resolver = resolver(&[], PrivateAccess::All);
        resolve(&resolver, "127.0.0.1", 80).unwrap();
        for host in ["127.0.0.1", "[::ffff:127.0.0.1]"] {
            assert!(matches!(resolve(&resolver, host, 9), Err(UpstreamError::Loop(_))), "{host}");
        }
        for host in ["0.0.0.0", "224.0.0.1", "[::]", "[ff02::1]"] {
            let error = resolve(&resolver, host, 80).unwrap_err();
            assert!(matches!(error, UpstreamError::Unusable { .. }), "{host}: {error}");
        }
    }
}
