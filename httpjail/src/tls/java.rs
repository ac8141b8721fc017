//! A Java trust store, in the one format that every Java reads: JKS.
//!
//! The format is Sun's, of 1996, and has no specification but its reader
//! (`sun.security.provider.JavaKeyStore`). All numbers are big-endian; a text is its length in
//! two bytes and "modified UTF-8", which is ASCII for ASCII.
//!
//! ```text
//! u32 0xfeedfeed | u32 version, 2 | u32 entries
//! per trusted certificate: u32 2 | text alias | u64 ms since 1970 | text "X.509" | u32 length | DER
//! SHA-1 of: the password as UTF-16, "Mighty Aphrodite", all of the above
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// The password of the store, Java's own default. It keeps nothing secret: a trust store holds
/// public certificates, and the digest that it goes into only finds damage.
pub(super) const PASSWORD: &str = "changeit";

/// A store in which the certificate with this DER is the only one trusted.
pub(super) fn trust_store(alias: &str, certificate: &[u8], created: SystemTime) -> Vec<u8> {
    let age = created.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut store = Vec::with_capacity(certificate.len() + 128);
    for number in [MAGIC, VERSION, 1, TRUSTED_CERTIFICATE] {
        store.extend_from_slice(&number.to_be_bytes());
    }
    push_text(&mut store, alias);
    store.extend_from_slice(&u64::try_from(age.as_millis()).unwrap_or(u64::MAX).to_be_bytes());
    push_text(&mut store, "X.509");
    let length = u32::try_from(certificate.len()).expect("a certificate has some hundred bytes");
    store.extend_from_slice(&length.to_be_bytes());
    store.extend_from_slice(certificate);
    let digest = digest(&store);
    store.extend_from_slice(digest.as_ref());
    store
}

fn push_text(store: &mut Vec<u8>, text: &str) {
    debug_assert!(text.is_ascii());
    let length = u16::try_from(text.len()).expect("our texts are short");
    store.extend_from_slice(&length.to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

fn digest(store: &[u8]) -> aws_lc_rs::digest::Digest {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        context.update(&unit.to_be_bytes());
    }
    context.update(WHITENER);
    context.update(store);
    context.finish()
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn has_the_layout_that_java_reads() {
        let created = UNIX_EPOCH + Duration::from_millis(0x0102_0304);
        let store = trust_store("ca", b"DER", created);
        let expected = [
            b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0\x02".as_slice(),
            b"\0\x02ca",
            b"\0\0\0\0\x01\x02\x03\x04",
            b"\0\x05X.509",
            b"\0\0\0\x03DER",
        ]
        .concat();
        assert_eq!(store[..expected.len()], expected);
        assert_eq!(store.len(), expected.len() + 20);
    }

    /// Needs `keytool`, which comes with every Java (Debian: default-jre-headless).
    #[test]
    fn keytool_finds_the_certificate_and_no_damage() {
        let certificate = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trust.jks");
        let store = trust_store("httpjail", certificate.cert.der(), SystemTime::now());
        fs::write(&path, store).unwrap();
        let list = |password: &str| {
            Command::new("keytool")
                .args(["-list", "-rfc", "-storetype", "JKS", "-storepass", password, "-keystore"])
                .arg(&path)
                .output()
                .unwrap_or_else(|error| panic!("this test needs keytool: {error}"))
        };
        let listed = list(PASSWORD);
        let text = String::from_utf8_lossy(&listed.stdout).replace(['\r', '\n'], "");
        assert!(listed.status.success(), "{listed:?}");
        assert!(text.contains("Alias name: httpjail"), "{text}");
        let pem = certificate.cert.pem().replace(['\r', '\n'], "");
        assert!(text.contains(&pem), "{text}");
        assert!(!list("another").status.success());
    }
}
