//! `httpjail trust` on macOS: whether the user's keychain trusts the kept authority, and making it so.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use httpjail_macos::keychain::{self, Standing};

use super::{exit, plan::TrustWish};
use crate::tls::Kept;

/// Makes the keychain as it is wished, and tells how it is. The exit code says whether all is as it is
/// wished.
pub(super) fn tell(kept: &Kept, wish: TrustWish, out: &mut dyn Write) -> io::Result<u8> {
    match brought_to(kept.certificate(), wish) {
        Ok(standing) => {
            writeln!(out, "{standing}")?;
            let is_trusted = standing == Standing::Trusted;
            let is_fulfilled = is_trusted == (wish != TrustWish::Removed);
            Ok(if is_fulfilled { exit::OK } else { exit::DENIED })
        }
        Err(error) => {
            writeln!(out, "✗ the keychain can't be asked: {error}")?;
            Ok(exit::FAILED)
        }
    }
}

/// How the certificate stands once the wish was tried.
fn brought_to(certificate: &Path, wish: TrustWish) -> io::Result<Standing> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let home = home.ok_or_else(|| io::Error::other("HOME names no folder"))?;
    let keychain = keychain::of_user(&home);
    let standing = keychain::standing(Kept::NAME, certificate, &keychain)?;
    // What came of it is seen below, whatever the system or the user said.
    let _ = match (wish, standing) {
        (TrustWish::Installed, Standing::Untrusted | Standing::Absent) => {
            keychain::trust(certificate, &keychain)?
        }
        (TrustWish::Removed, Standing::Trusted | Standing::Untrusted) => {
            keychain::distrust(Kept::NAME, &keychain)?
        }
        (TrustWish::Told, _)
        | (TrustWish::Installed, Standing::Trusted)
        | (TrustWish::Removed, Standing::Absent) => return Ok(standing),
    };
    keychain::standing(Kept::NAME, certificate, &keychain)
}
