//! `httpjail trust` on Linux: whether the system trusts the kept authority, and how it comes to.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use super::{exit, plan::TrustWish};
use crate::tls::{Kept, SYSTEM_BUNDLES};

/// How each kind of system comes to trust a certificate, and ceases to: whose these
/// are, where the certificate goes, and what then has to be run.
const SYSTEMS: [System; 4] = [
    System {
        marker: "/etc/debian_version",
        name: "Debian, Ubuntu",
        place: "/usr/local/share/ca-certificates/httpjail.crt",
        update: "update-ca-certificates",
    },
    System {
        marker: "/etc/redhat-release",
        name: "Fedora, RHEL",
        place: "/etc/pki/ca-trust/source/anchors/httpjail.pem",
        update: "update-ca-trust extract",
    },
    System {
        marker: "/etc/arch-release",
        name: "Arch",
        place: "/etc/ca-certificates/trust-source/anchors/httpjail.crt",
        update: "update-ca-trust",
    },
    System {
        marker: "/etc/alpine-release",
        name: "Alpine",
        place: "/usr/local/share/ca-certificates/httpjail.crt",
        update: "update-ca-certificates",
    },
];

const VARIABLES: &str = "\
Programs that are started with these variables trust it without that:
  SSL_CERT_FILE CURL_CA_BUNDLE GIT_SSL_CAINFO REQUESTS_CA_BUNDLE CARGO_HTTP_CAINFO PIP_CERT
    the only certificates to trust: OpenSSL, Go, curl, git, Python, Cargo
  NODE_EXTRA_CA_CERTS DENO_CERT
    one more: Node.js, Deno
A command in a jail, or with --weak, needs none of this: it is told to trust the authority of its run.
";

struct System {
    marker: &'static str,
    name: &'static str,
    place: &'static str,
    update: &'static str,
}

/// Tells whether the system trusts the certificate, and how that can be changed. The exit code says
/// whether all is as it is wished.
pub(super) fn tell(kept: &Kept, wish: TrustWish, out: &mut dyn Write) -> io::Result<u8> {
    let mut bundles = SYSTEM_BUNDLES.iter().map(Path::new);
    let pem = kept.certificate_pem();
    let trusting = bundles.find(|bundle| holds(bundle, &pem));
    let here = SYSTEMS.iter().position(|system| Path::new(system.marker).exists());
    let certificate = kept.certificate().display().to_string();
    tell_of(&certificate, trusting, here, wish, out)
}

fn tell_of(
    certificate: &str,
    trusting: Option<&Path>,
    here: Option<usize>,
    wish: TrustWish,
    out: &mut dyn Write,
) -> io::Result<u8> {
    match trusting {
        Some(bundle) => {
            writeln!(out, "✓ this system trusts httpjail's CA ({})", bundle.display())?;
        }
        None => writeln!(out, "✗ this system doesn't trust httpjail's CA ({certificate})")?,
    }
    let is_fulfilled = trusting.is_some() == (wish != TrustWish::Removed);
    if is_fulfilled {
        return Ok(exit::OK);
    }
    writeln!(out, "\nhttpjail doesn't change the system's trust itself. As root:")?;
    let systems = match here {
        Some(here) => SYSTEMS.get(here..=here).unwrap_or_default(),
        None => &SYSTEMS,
    };
    for system in systems {
        let System { name, place, update, .. } = system;
        match wish {
            TrustWish::Told | TrustWish::Installed => {
                writeln!(out, "  {name}: install -m 644 '{certificate}' {place} && {update}")?;
            }
            TrustWish::Removed => writeln!(out, "  {name}: rm {place} && {update}")?,
        }
    }
    if wish != TrustWish::Removed {
        write!(out, "\n{VARIABLES}")?;
    }
    Ok(exit::DENIED)
}

/// Whether a file of certificates has this one. PEM files differ in how they break lines.
fn holds(bundle: &Path, pem: &str) -> bool {
    let without_breaks = |text: &str| text.split_ascii_whitespace().collect::<String>();
    let text = fs::read(bundle).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.is_ok_and(|text| without_breaks(&text).contains(&without_breaks(pem)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(trusting: Option<&str>, here: Option<usize>, wish: TrustWish) -> (u8, String) {
        let mut out = Vec::new();
        let code =
            tell_of("/c/ca-cert.pem", trusting.map(Path::new), here, wish, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_exit_code_says_whether_all_is_as_wished() {
        for (trusting, wish, code) in [
            (Some("/b"), TrustWish::Told, 0),
            (Some("/b"), TrustWish::Installed, 0),
            (Some("/b"), TrustWish::Removed, 1),
            (None, TrustWish::Told, 1),
            (None, TrustWish::Installed, 1),
            (None, TrustWish::Removed, 0),
        ] {
            let (told_code, text) = told(trusting, Some(0), wish);
            assert_eq!(told_code, code, "{text}");
            assert!(text.starts_with(if trusting.is_some() { "✓ " } else { "✗ " }), "{text}");
            assert_eq!(text.lines().count() == 1, code == 0, "{text}");
        }
    }

    #[test]
    fn says_how_each_system_is_changed() {
        let (_, install) = told(None, None, TrustWish::Installed);
        let (_, remove) = told(Some("/b"), None, TrustWish::Removed);
        insta::assert_snapshot!("trust", format!("{install}\n----\n{remove}"));
    }

    #[test]
    fn finds_a_certificate_however_its_lines_are_broken() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";
        assert!(!holds(&bundle, pem));
        fs::write(&bundle, format!("other\n{}", pem.replace('\n', "\r\n"))).unwrap();
        assert!(holds(&bundle, pem));
        fs::write(&bundle, pem.replace("AA", "AB")).unwrap();
        assert!(!holds(&bundle, pem));
    }
}
