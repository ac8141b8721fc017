//! security(1): whether the user's keychain trusts a certificate of httpjail's, and making it so.
//!
//! The command lines and what is read from their answers are pure functions; [`standing`], [`trust`]
//! and [`distrust`] run them.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::Command,
};

/// By its path: what stands in PATH may be another one.
const SECURITY: &str = "/usr/bin/security";
/// What a SHA-1 hash looks like in `find-certificate -Z`'s answer.
const HASH: &str = "SHA-1 hash:";

/// How a certificate stands in the user's keychain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Programs that ask the system trust it.
    Trusted,
    /// It is there, and not trusted.
    Untrusted,
    /// It isn't there.
    Absent,
}

impl Standing {
    /// From how `find-certificate` and `verify-cert` ended. What is trusted by another keychain (an
    /// administrator's) is trusted.
    pub fn of(is_there: bool, is_verified: bool) -> Self {
        match (is_there, is_verified) {
            (_, true) => Self::Trusted,
            (true, false) => Self::Untrusted,
            (false, false) => Self::Absent,
        }
    }

    /// The exit code that tells it: 0 when it is trusted, else 1.
    pub fn exit_code(self) -> u8 {
        u8::from(self != Self::Trusted)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trusted => "✓ the CA of httpjail is trusted",
            Self::Untrusted => {
                "✗ the CA of httpjail is in the keychain, but not trusted: httpjail trust --install"
            }
            Self::Absent => "✗ the CA of httpjail isn't in the keychain: httpjail trust --install",
        })
    }
}

/// How the certificate in this file, of this common name, stands.
///
/// # Errors
///
/// When `security` can't be run.
pub fn standing(name: &str, certificate: &Path, keychain: &Path) -> io::Result<Standing> {
    let (is_there, _) = run(find(name, keychain))?;
    let (is_verified, _) = run(verify(certificate))?;
    Ok(Standing::of(is_there, is_verified))
}

/// Makes the user trust the certificate in this file, once the system has asked. `false`: the user
/// or the system said no.
///
/// # Errors
///
/// When `security` can't be run.
pub fn trust(certificate: &Path, keychain: &Path) -> io::Result<bool> {
    run(install(certificate, keychain)).map(|(installed, _)| installed)
}

/// Removes all certificates of this common name, and the user's trust in them. `false`: one is left.
///
/// # Errors
///
/// When `security` can't be run.
pub fn distrust(name: &str, keychain: &Path) -> io::Result<bool> {
    let (_, found) = run(find(name, keychain))?;
    let mut all = true;
    for hash in hashes(&found) {
        all &= run(remove(&hash, keychain))?.0;
    }
    Ok(all)
}

/// The user's own keychain, below the home folder.
pub fn of_user(home: &Path) -> PathBuf {
    home.join("Library/Keychains/login.keychain-db")
}

/// Finds all certificates of this common name, with their hashes. It fails when there is none.
fn find(name: &str, keychain: &Path) -> Command {
    let mut command = Command::new(SECURITY);
    command.args(["find-certificate", "-a", "-Z", "-c", name]).arg(keychain);
    command
}

/// Succeeds when the system trusts the certificate in this file for TLS. It asks nobody on the
/// network (`-L`), and lets a leaf be an authority (`-l`).
fn verify(certificate: &Path) -> Command {
    let mut command = Command::new(SECURITY);
    command.args(["verify-cert", "-q", "-L", "-l", "-p", "ssl", "-c"]).arg(certificate);
    command
}

/// Puts the certificate in this file into the keychain, trusted for TLS alone and for this user
/// alone. The system asks the user.
fn install(certificate: &Path, keychain: &Path) -> Command {
    let mut command = Command::new(SECURITY);
    command.args(["add-trusted-cert", "-r", "trustRoot", "-p", "ssl", "-k"]);
    command.arg(keychain).arg(certificate);
    command
}

/// Takes the certificate of this hash out of the keychain, and the user's trust in it (`-t`).
fn remove(hash: &str, keychain: &Path) -> Command {
    let mut command = Command::new(SECURITY);
    command.args(["delete-certificate", "-t", "-Z", hash]).arg(keychain);
    command
}

/// The hashes in [`find`]'s answer.
fn hashes(answer: &str) -> Vec<String> {
    let values = answer.lines().filter_map(|line| line.trim().strip_prefix(HASH));
    let is_hash = |text: &&str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
    values.map(str::trim).filter(is_hash).map(str::to_owned).collect()
}

/// Runs one of these; whether it succeeded, and what it said on standard output.
fn run(mut command: Command) -> io::Result<(bool, String)> {
    let output = command.output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: &Command) -> String {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn asks_the_users_own_keychain() {
        let keychain = of_user(Path::new("/Users/alice"));
        let ca = Path::new("/Users/alice/ca.pem");
        let lines = [
            find("httpjail CA", &keychain),
            verify(ca),
            install(ca, &keychain),
            remove("AB12", &keychain),
        ]
        .map(|command| line(&command));
        insta::assert_snapshot!(lines.join("\n"), @r"
        /usr/bin/security find-certificate -a -Z -c httpjail CA /Users/alice/Library/Keychains/login.keychain-db
        /usr/bin/security verify-cert -q -L -l -p ssl -c /Users/alice/ca.pem
        /usr/bin/security add-trusted-cert -r trustRoot -p ssl -k /Users/alice/Library/Keychains/login.keychain-db /Users/alice/ca.pem
        /usr/bin/security delete-certificate -t -Z AB12 /Users/alice/Library/Keychains/login.keychain-db
        ");
    }

    #[test]
    fn tells_how_it_stands() {
        let table = [(true, true), (true, false), (false, false), (false, true)];
        let told: Vec<_> = table
            .map(|(there, verified)| {
                let standing = Standing::of(there, verified);
                format!("{} {standing}", standing.exit_code())
            })
            .into();
        insta::assert_snapshot!(told.join("\n"), @r"
        0 ✓ the CA of httpjail is trusted
        1 ✗ the CA of httpjail is in the keychain, but not trusted: httpjail trust --install
        1 ✗ the CA of httpjail isn't in the keychain: httpjail trust --install
        0 ✓ the CA of httpjail is trusted
        ");
    }

    #[test]
    fn finds_every_hash_and_nothing_else() {
        let one = "0123456789ABCDEF0123456789ABCDEF01234567";
        let two = "89ABCDEF0123456789ABCDEF0123456789ABCDEF";
        let answer = format!(
            "SHA-256 hash: {one}{one}\nSHA-1 hash: {one}\nkeychain: \"/x\"\n    \"alis\"<blob>=\"SHA-1 \
             hash:\"\nSHA-1 hash: {two}\nSHA-1 hash: short\n"
        );
        assert_eq!(hashes(&answer), [one, two]);
        for end in (0..answer.len()).filter(|end| answer.is_char_boundary(*end)) {
            assert!(hashes(&answer[..end]).len() <= 2);
        }
    }
}
