//! From what was judged to addresses that may be dialled.
//!
//! Names are resolved as the machine does it, by getaddrinfo(3): `/etc/hosts`, the order of
//! nsswitch.conf, search lists and caches of the machine's own are all in it. It doesn't tell how
//! long its answer holds, so none is kept here: each new connection asks, and those that are open
//! spare the question.

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

/// How long a request that goes through a proxy waits for what this machine knows of its host. Where
/// the proxy is the only way out, the resolver may not answer at all.
const LOCAL_KNOWLEDGE: Duration = Duration::from_secs(2);

/// Resolves authorities, and lets through only addresses that may be dialled.
#[derive(Debug)]
pub(super) struct Resolver {
    overrides: HashMap<Host, Vec<IpAddr>>,
    access: PrivateAccess,
    own: Vec<SocketAddr>,
    patience: Duration,
    apart: Apart,
}

impl Resolver {
    /// A resolver under the user's `options`; `own` are the proxy's listeners.
    pub(super) fn new(options: &Options, own: Vec<SocketAddr>) -> Self {
        let mut overrides: HashMap<Host, Vec<IpAddr>> = HashMap::new();
        for (host, address) in &options.resolve {
            overrides.entry(host.clone()).or_default().push(*address);
        }
        Self {
            overrides,
            access: options.allow_private.clone(),
            own,
            patience: options.timeouts.resolve,
            apart: Apart::new(),
        }
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

    /// Whether the user says which addresses `host` has.
    pub(super) fn has_override(&self, host: &Host) -> bool {
        self.overrides.contains_key(host)
    }

    /// The addresses of a proxy that the user named: they may be special.
    pub(super) async fn resolve_proxy(
        &self,
        proxy: &Authority,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        let mut found = self.look_up(proxy).await?;
        found.retain(|address| {
            let range = ranges::special(address.ip());
            range.is_none_or(Special::is_dialable) && !self.is_listener(*address)
        });
        if found.is_empty() {
            Err(UpstreamError::NoAddress(proxy.host().clone()))
        } else {
            Ok(found)
        }
    }

    /// What a proxy elsewhere may be asked to connect to for `authority`.
    ///
    /// That proxy resolves the name, so this is no more than a check of what this machine makes of
    /// it: an address, or a name that is known here, must not be special. A name that isn't known
    /// here passes.
    pub(super) async fn check_for_proxy(
        &self,
        authority: &Authority,
    ) -> Result<Authority, UpstreamError> {
        let host = authority.host();
        if self.has_override(host) {
            let addresses = self.resolve(authority).await?;
            let first = addresses.first().ok_or_else(|| UpstreamError::NoAddress(host.clone()))?;
            return Ok(Authority::new(first.ip().into(), authority.port()));
        }
        if matches!(host, Host::Ip(_)) || self.access != PrivateAccess::All {
            let known = timeout(LOCAL_KNOWLEDGE, self.look_up(authority)).await;
            for address in known.ok().and_then(Result::ok).unwrap_or_default() {
                self.check(address)?;
            }
        }
        Ok(authority.clone())
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
        match timeout(self.patience, look_up).await {
            Ok(Ok(Ok(addresses))) => Ok(addresses.collect()),
            Ok(Ok(Err(source)) | Err(source)) => {
                Err(UpstreamError::Resolve { host: host(), source })
            }
            Err(_) => Err(UpstreamError::ResolveTimeout(host())),
        }
    }

    fn check(&self, address: SocketAddr) -> Result<(), UpstreamError> {
        // First, as the other reasons depend on what the user opens.
        if self.is_listener(address) {
            return Err(UpstreamError::Loop(address));
        }
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
        Ok(())
    }

    /// Whether the proxy itself listens there.
    fn is_listener(&self, address: SocketAddr) -> bool {
        let ip = ranges::unmapped(address.ip());
        // Who listens at all addresses listens at each that is this machine's.
        let is_here = || ip.is_loopback() || ranges::is_own(ip);
        self.own.iter().any(|own| {
            own.port() == address.port()
                && (own.ip() == ip || (own.ip().is_unspecified() && is_here()))
        })
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
    fn a_proxy_of_the_users_may_be_private_but_not_this_one() {
        let resolver =
            resolver(&[("p.test", "10.0.0.1"), ("p.test", "0.0.0.0")], PrivateAccess::None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let resolve = |host: &str, port| {
            let authority = Authority::new(Host::parse(host).unwrap(), port);
            runtime.block_on(resolver.resolve_proxy(&authority))
        };
        let private: SocketAddr = "10.0.0.1:3128".parse().unwrap();
        assert_eq!(resolve("p.test", 3128).unwrap(), [private]);
        assert!(resolve("127.0.0.1", 3128).is_ok());
        for (host, port) in
            [("127.0.0.1", 9), ("[::ffff:127.0.0.1]", 9), ("0.0.0.0", 3128), ("224.0.0.1", 3128)]
        {
            let error = resolve(host, port).unwrap_err();
            assert!(matches!(error, UpstreamError::NoAddress(_)), "{host}:{port}: {error}");
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
