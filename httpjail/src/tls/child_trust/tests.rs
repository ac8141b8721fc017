//! The files, the variables, and what must not get into either.

use std::collections::HashMap;

use tempfile::TempDir;

use super::*;

fn authority() -> String {
    rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap().cert.pem()
}

struct Installed {
    directory: TempDir,
    variables: HashMap<OsString, OsString>,
}

impl Installed {
    fn new(authority: &str, caller: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let caller: HashMap<_, _> = caller.iter().copied().collect();
        let trust =
            ChildTrust::prepare(directory.path(), |name| caller.get(name).map(Into::into)).unwrap();
        let variables = trust.variables().iter().cloned().collect();
        trust.fill(authority).unwrap();
        Self { directory, variables }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(OsStr::new(name)).map(|value| value.to_str().unwrap())
    }
}

#[test]
fn the_bundle_starts_with_the_run_s_ca_and_holds_the_system_s_roots() {
    let authority = authority();
    let installed = Installed::new(&authority, &[]);
    let bundle = installed.read(BUNDLE);
    assert!(bundle.starts_with(&authority));
    let system = fs::read_to_string(SYSTEM_BUNDLES[0]).unwrap();
    assert!(bundle.ends_with(&system));
    let readable = CertificateDer::pem_slice_iter(bundle.as_bytes()).collect::<Result<Vec<_>, _>>();
    assert_eq!(readable.unwrap().len(), 1 + certificates(&system).count());
    assert_eq!(installed.read(AUTHORITY), authority);
}

#[test]
fn everybody_may_read_the_files_and_nothing_unfinished_is_left() {
    let installed = Installed::new(&authority(), &[("JAVA_HOME", "/java"), ("PATH", "/usr/bin")]);
    let mut names = Vec::new();
    for entry in fs::read_dir(installed.directory.path()).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        assert_eq!(found.mode() & 0o7777, if found.is_dir() { 0o755 } else { 0o644 });
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort_unstable();
    assert!(names.contains(&BUNDLE.to_owned()) && names.contains(&TRUST_STORE.to_owned()));
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
}

#[test]
fn every_variable_leads_to_a_file_of_the_run() {
    let installed = Installed::new(&authority(), &[("SSL_CERT_FILE", "/somewhere/else.pem")]);
    let path = |name| installed.directory.path().join(name);
    for name in BUNDLE_VARIABLES {
        assert_eq!(installed.variable(name), path(BUNDLE).to_str(), "{name}");
    }
    for name in AUTHORITY_VARIABLES {
        assert_eq!(installed.variable(name), path(AUTHORITY).to_str(), "{name}");
    }
}

#[test]
fn a_ca_that_the_caller_gave_to_node_stays_trusted() {
    let directory = TempDir::new().unwrap();
    let corporate = authority();
    let path = directory.path().join("corporate.pem");
    fs::write(&path, format!("a comment\n{corporate}trailing")).unwrap();
    let caller = [("NODE_EXTRA_CA_CERTS", path.to_str().unwrap())];
    let bundle = Installed::new(&authority(), &caller).read(BUNDLE);
    assert!(bundle.contains(corporate.trim_end()));
    assert!(!bundle.contains("a comment") && !bundle.contains("trailing"));
}

#[test]
fn the_system_s_roots_are_not_taken_twice() {
    let caller = [("NODE_EXTRA_CA_CERTS", SYSTEM_BUNDLES[0])];
    let authority = authority();
    let bundle = Installed::new(&authority, &caller).read(BUNDLE);
    assert_eq!(bundle, Installed::new(&authority, &[]).read(BUNDLE));
}

#[test]
fn nothing_but_certificates_gets_out_of_a_file_that_the_caller_names() {
    let secrets = [
        "root:$6$secret:19000:0:99999:7:::",
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----\nroot:$6$secret\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nc2VjcmV0",
        "-----END CERTIFICATE-----secret-----BEGIN CERTIFICATE-----",
    ];
    for secret in secrets {
        assert_eq!(certificates(secret).count(), 0, "{secret}");
    }
    for path in ["/dev/zero", "/", "/no/such/file", ""] {
        assert!(extra_certificates(path.as_ref()).is_empty(), "{path}");
    }
}

#[test]
fn every_prefix_of_a_file_yields_only_whole_certificates() {
    let one = authority();
    let text = format!("{one}{one}");
    for end in 0..text.len() {
        let expected = usize::from(end >= one.trim_end().len());
        assert_eq!(
            certificates(&text[..end]).count(),
            expected.max(text[..end].matches(END).count())
        );
    }
}

#[test]
fn java_gets_a_store_where_there_is_java() {
    let with = Installed::new(&authority(), &[("JAVA_HOME", "/java"), (JAVA_VARIABLE, "-Xmx1g")]);
    let options = with.variable(JAVA_VARIABLE).unwrap();
    let store = with.directory.path().join(TRUST_STORE);
    assert!(options.starts_with("-Xmx1g -D"), "{options}");
    assert!(options.ends_with(&format!(" \"-Djavax.net.ssl.trustStore={}\"", store.display())));
    assert!(store.exists());

    let without = Installed::new(&authority(), &[("PATH", "/no/such/directory")]);
    assert_eq!(without.variable(JAVA_VARIABLE), None);
    assert!(!without.directory.path().join(TRUST_STORE).exists());
}

#[test]
fn wget_gets_settings_where_there_is_wget() {
    let tools = TempDir::new().unwrap();
    let wget = tools.path().join("wget");
    fs::write(&wget, "").unwrap();
    let path = [("PATH", tools.path().to_str().unwrap())];
    assert_eq!(Installed::new(&authority(), &path).variable(WGET_VARIABLE), None);

    fs::set_permissions(&wget, Permissions::from_mode(0o755)).unwrap();
    let with = Installed::new(&authority(), &path);
    let bundle = with.directory.path().join(BUNDLE);
    let last = format!("\nca_certificate = {}\n", bundle.display());
    assert!(with.variable(WGET_VARIABLE).unwrap().ends_with(WGETRC));
    assert!(with.read(WGETRC).ends_with(&last));
}

#[test]
fn does_not_write_through_a_link() {
    let directory = TempDir::new().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "untouched").unwrap();
    std::os::unix::fs::symlink(&target, directory.path().join(BUNDLE)).unwrap();
    let outcome = ChildTrust::prepare(directory.path(), |_| None);
    assert!(matches!(outcome, Err(TrustError::Write { .. })));
    assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
}
