//! The rules of a jail, as the text that `pfctl -f -` reads.
//!
//! pf's translation rules know no users, and translate what *comes in* (pf.conf(5), TRANSLATION).
//! So it takes two steps, as in sshuttle (`sshuttle/methods/pf.py`, class `Darwin`) and in
//! mitmproxy's guide ("Transparent Proxying", macOS): a filter rule sends what the user's programs
//! send out to lo0 (`route-to`), where it comes in and a `rdr` rule turns it to the proxy. The
//! filter rule marks its packets with the jail's own tag, which stays with a packet until it leaves
//! the machine, and `rdr` turns nothing else: other programs' connections over lo0, and those of
//! other jails, go on as they were.
//!
//! Rules with `user` hold TCP and UDP alone (pf.conf(5), PARAMETERS: user): ICMP is not held back.

use std::fmt::{self, Write};

/// Where the system's own rules lead to: `/etc/pf.conf` has `anchor "com.apple/*"` and
/// `rdr-anchor "com.apple/*"`. An asterisk reaches what is directly below, and goes no deeper
/// (pf.conf(5), ANCHORS), so each jail has an anchor there, and none below one of httpjail's. They
/// are evaluated in the order of their names: these come before Apple's (`200.AirDrop`, …), whose
/// rules could end the evaluation.
const PLACE: &str = "com.apple/000.httpjail-";
/// What tags begin with. A tag has at most 63 characters (`PF_TAG_NAME_SIZE` in XNU's
/// bsd/net/pfvar.h is 64).
const TAG: &str = "HTTPJAIL_";
/// The longest id: with it, names of anchors and tags stay within pf's bounds.
const LONGEST_ID: usize = 32;

/// A jail as pf sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jail {
    /// Its name among jails.
    pub id: Id,
    /// The user whose packets are held.
    pub uid: u32,
    /// The proxy and the stub on 127.0.0.1.
    pub v4: Ports,
    /// The proxy and the stub on `::1`; `None`: nothing goes out by IPv6.
    pub v6: Option<Ports>,
    /// TCP ports at which other programs of this machine may reach the jail's.
    pub published: Vec<u16>,
}

/// Where a jail is served, on one loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The proxy's TCP port.
    pub proxy: u16,
    /// The DNS stub's UDP port.
    pub dns: u16,
}

/// A jail's name: letters, digits, `_` and `-`, so that it can't be anything else to pf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(String);

impl Id {
    /// `None`: it has other characters, none, or too many.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let fits = (1..=LONGEST_ID).contains(&text.len());
        (fits && text.bytes().all(is_plain)).then(|| Self(text.to_owned()))
    }

    /// The anchor that holds the jail's rules.
    pub fn anchor(&self) -> String {
        format!("{PLACE}{self}")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `anchor` is one of httpjail's: what a file says is flushed only if it is.
pub fn is_ours(anchor: &str) -> bool {
    anchor.strip_prefix(PLACE).is_some_and(|id| Id::new(id).is_some())
}

impl Jail {
    /// The rules, one a line: translations first, as pf wants it, then filters, each of which ends
    /// the evaluation (`quick`) for what it matches.
    pub fn rules(&self) -> String {
        let mut rules = String::new();
        let families = [Some(Family::v4(self.v4)), self.v6.map(Family::v6)];
        let families = families.into_iter().flatten();
        let written: fmt::Result = families
            .clone()
            .try_for_each(|family| self.turn(&mut rules, &family))
            .and_then(|()| families.clone().try_for_each(|family| self.send(&mut rules, &family)))
            .and_then(|()| self.publish(&mut rules))
            .and_then(|()| self.block(&mut rules));
        written.expect("a string takes all that is written to it");
        rules
    }

    /// What came in on lo0 with the jail's tag goes to the proxy, DNS to the stub. DNS over TCP goes
    /// to the proxy like all TCP, which knows it by its port.
    fn turn(&self, rules: &mut String, family: &Family) -> fmt::Result {
        let (Family { name, address, ports }, id) = (family, &self.id);
        for (protocol, to, port) in [("tcp", "any", ports.proxy), ("udp", "any port 53", ports.dns)]
        {
            writeln!(
                rules,
                "rdr pass on lo0 {name} proto {protocol} from any to {to} tagged {TAG}{id} \
                 -> {address} port {port}"
            )?;
        }
        Ok(())
    }

    /// What the user opens goes to lo0, tagged; what goes there already is tagged.
    fn send(&self, rules: &mut String, family: &Family) -> fmt::Result {
        let (Family { name, address, .. }, Self { id, uid, .. }) = (family, self);
        for (protocol, to, flags) in [("tcp", "any", " flags S/SA"), ("udp", "any port 53", "")] {
            for on in ["on lo0".to_owned(), format!("on ! lo0 route-to (lo0 {address})")] {
                writeln!(
                    rules,
                    "pass out quick {on} {name} proto {protocol} from any to {to} \
                     user {uid}{flags} keep state tag {TAG}{id}"
                )?;
            }
        }
        Ok(())
    }

    fn publish(&self, rules: &mut String) -> fmt::Result {
        if self.published.is_empty() {
            return Ok(());
        }
        let ports: Vec<_> = self.published.iter().map(u16::to_string).collect();
        writeln!(
            rules,
            "pass in quick on lo0 proto tcp from any to any port {{ {} }} user {} flags S/SA \
             keep state",
            ports.join(", "),
            self.uid
        )
    }

    /// The rest, both ways: no word comes in to a listener of the jail's that isn't published.
    fn block(&self, rules: &mut String) -> fmt::Result {
        let uid = self.uid;
        writeln!(rules, "block return out quick proto {{ tcp, udp }} from any to any user {uid}")?;
        writeln!(rules, "block drop in quick proto {{ tcp, udp }} from any to any user {uid}")
    }
}

/// What differs between IPv4 and IPv6.
#[derive(Clone)]
struct Family {
    name: &'static str,
    address: &'static str,
    ports: Ports,
}

impl Family {
    fn v4(ports: Ports) -> Self {
        Self { name: "inet", address: "127.0.0.1", ports }
    }

    fn v6(ports: Ports) -> Self {
        Self { name: "inet6", address: "::1", ports }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jail(id: &str) -> Jail {
        Jail {
            id: Id::new(id).unwrap(),
            uid: 450,
            v4: Ports { proxy: 50001, dns: 50002 },
            v6: None,
            published: Vec::new(),
        }
    }

    #[test]
    fn turns_ipv4_and_blocks_the_rest() {
        insta::assert_snapshot!(jail("a1b2c3d4").rules());
    }

    #[test]
    fn turns_both_families() {
        let v6 = Some(Ports { proxy: 50003, dns: 50004 });
        insta::assert_snapshot!(Jail { v6, ..jail("a1b2c3d4") }.rules());
    }

    #[test]
    fn publishes_several_ports() {
        insta::assert_snapshot!(Jail { published: vec![3000, 8080], ..jail("a1b2c3d4") }.rules());
    }

    #[test]
    fn several_jails_share_nothing() {
        let other = Jail { uid: 451, v4: Ports { proxy: 50011, dns: 50012 }, ..jail("e5f6a7b8") };
        let both = [jail("a1b2c3d4"), other];
        let text: Vec<_> =
            both.iter().map(|jail| format!("{}\n{}", jail.id.anchor(), jail.rules())).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn every_filter_rule_names_the_user_and_is_final() {
        let v6 = Some(Ports { proxy: 50003, dns: 50004 });
        let rules = Jail { v6, published: vec![1], ..jail("x") }.rules();
        for rule in rules.lines().filter(|rule| !rule.starts_with("rdr ")) {
            assert!(rule.contains(" quick ") && rule.contains(" user 450"), "{rule}");
        }
        for rule in rules.lines().filter(|rule| rule.starts_with("rdr ")) {
            assert!(rule.contains(" on lo0 ") && rule.contains(" tagged HTTPJAIL_x "), "{rule}");
        }
    }

    #[test]
    fn an_id_is_a_plain_word() {
        for wrong in ["", "a b", "a/b", "a*", "a\n", "a\"", "ä", &"a".repeat(33)] {
            assert_eq!(Id::new(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn knows_its_own_anchors() {
        assert!(is_ours("com.apple/000.httpjail-a1b2c3d4"));
        for other in
            ["", "com.apple", "com.apple/*", "com.apple/200.AirDrop", "com.apple/000.httpjail-"]
        {
            assert!(!is_ours(other), "{other}");
        }
    }
}
