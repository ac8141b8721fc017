//! Package managers and git work in a jail against servers that the lab makes for them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use httpjail_tests::{Lab, Reply, Seen, folder};

/// Prepares a site in `site/`, serves it as `host`, and lets the client at it: outside, allowed and
/// denied. A client that worked says `works`.
fn assert_installs(host: &str, prepare: &str, client: &str) {
    assert_installs_from(host, prepare, folder, client);
}

/// The same with a server of `handler`'s, which is given the site.
fn assert_installs_from<H>(host: &str, prepare: &str, handler: fn(PathBuf) -> H, client: &str)
where
    H: Fn(&Seen) -> Reply + Send + Sync + 'static,
{
    let lab = Lab::new();
    let prepared = lab.outside().sh(&format!("set -e; mkdir site; {prepare}"));
    assert_eq!(prepared.code, Some(0), "{prepared:?}");
    let origin = lab.origin_with(host, handler(lab.home().join("site")));
    let client = format!("rm -rf out && mkdir out && cd out && {client} && echo works");
    let outside = lab.outside().sh(&client);
    assert!(outside.stdout.contains("works"), "without a jail: {outside:?}");
    let before = origin.seen().len();
    let allowed = lab.jail().js(&format!("r.host === '{host}'")).sh(&client);
    assert!(allowed.stdout.contains("works"), "{allowed:?}");
    assert!(allowed.log.iter().all(|line| line.starts_with("+ ")), "{allowed:?}");
    assert!(origin.seen().len() > before, "the origin was asked");
    let before = origin.seen().len();
    let denied = lab.jail().js(&format!("r.host !== '{host}'")).sh(&client);
    assert!(!denied.stdout.contains("works"), "{denied:?}");
    assert_eq!(origin.seen().len(), before, "a denied request got out");
    lab.assert_clean();
}

#[test]
fn git_clone() {
    assert_installs(
        "git.test",
        "git init -q source && cd source && echo lab > file && git add file
         git -c user.name=lab -c user.email=lab@lab.test commit -qm lab && cd ..
         git clone -q --bare source site/repository.git
         git -C site/repository.git update-server-info",
        "git clone -q https://git.test/repository.git clone && grep -q lab clone/file",
    );
}

/// As most servers speak to git: by its own protocol over HTTP, and they take pushes. A large one
/// comes in chunks.
#[test]
fn git_clone_and_push() {
    assert_installs_from(
        "git.test",
        "git init -q source && cd source && echo lab > file && git add file
         git -c user.name=lab -c user.email=lab@lab.test commit -qm lab && cd ..
         git clone -q --bare source site/repository.git
         git -C site/repository.git config http.receivepack true",
        git_backend,
        "git clone -q https://git.test/repository.git clone && cd clone && grep -q lab file &&
         head -c 3000000 /dev/urandom > large && git add large &&
         git -c user.name=lab -c user.email=lab@lab.test commit -qm large &&
         git push -q origin HEAD && git fetch -q && git diff --quiet HEAD @{upstream} &&
         test $(git ls-remote origin HEAD | cut -f 1) = $(git rev-parse HEAD)",
    );
}

/// git's own program for web servers (CGI).
fn git_backend(root: PathBuf) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| {
        let output = ask_git(&root, seen);
        let end = output.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&output[..end]);
        let mut reply = http::Response::builder();
        for line in head.lines() {
            let (name, value) = line.split_once(": ").expect("a header field");
            reply = match name {
                "Status" => reply.status(value.split(' ').next().expect("a status")),
                _ => reply.header(name, value),
            };
        }
        reply.body(output[end + 4..].to_vec().into()).expect("a legal reply")
    }
}

fn ask_git(root: &Path, seen: &Seen) -> Vec<u8> {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let header = |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok());
    let mut git = Command::new("git");
    git.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "yes");
    git.env("REQUEST_METHOD", &seen.method).env("PATH_INFO", path).env("QUERY_STRING", query);
    git.env("CONTENT_LENGTH", seen.body.len().to_string()).env("REMOTE_ADDR", "45.67.89.1");
    for (variable, name) in [
        ("CONTENT_TYPE", "content-type"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        git.envs(header(name).map(|value| (variable, value)));
    }
    let mut git =
        git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git is installed");
    let (mut stdin, body) = (git.stdin.take().expect("a pipe"), seen.body.clone());
    let fed = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = git.wait_with_output().expect("it ends").stdout;
    drop(fed.join());
    output
}

#[test]
fn pip_download_and_install() {
    assert_installs(
        "pypi.test",
        "mkdir -p site/simple/lab-wheel && cd site/simple/lab-wheel
         /usr/bin/python3 - <<'END'
import zipfile
wheel = 'lab_wheel-1.0-py3-none-any.whl'
info = 'lab_wheel-1.0.dist-info/'
with zipfile.ZipFile(wheel, 'w') as file:
    file.writestr('lab_wheel.py', '')
    file.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: lab-wheel\\nVersion: 1.0\\n')
    file.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    file.writestr(info + 'RECORD', '')
open('index.html', 'w').write(f'<!DOCTYPE html><html><body><a href=\"{wheel}\">{wheel}</a></body></html>')
END",
        "/usr/bin/python3 -m pip --isolated --disable-pip-version-check --no-cache-dir download -q \\
            --no-deps --retries 0 --index-url https://pypi.test/simple/ lab-wheel && ls *.whl &&
         /usr/bin/python3 -m pip --isolated --disable-pip-version-check --no-cache-dir install -q \\
            --no-deps --retries 0 --index-url https://pypi.test/simple/ --target lib lab-wheel &&
         test -f lib/lab_wheel.py",
    );
}

#[test]
fn npm_install() {
    assert_installs(
        "npm.test",
        "mkdir package && cd package && echo 'module.exports = \"lab\"' > index.js
         echo '{\"name\": \"lab-package\", \"version\": \"1.0.0\"}' > package.json && cd ..
         tar czf site/lab-package-1.0.0.tgz package
         cat > site/lab-package <<'END'
{\"name\": \"lab-package\", \"dist-tags\": {\"latest\": \"1.0.0\"}, \"versions\": {\"1.0.0\": {
  \"name\": \"lab-package\", \"version\": \"1.0.0\",
  \"dist\": {\"tarball\": \"https://npm.test/lab-package-1.0.0.tgz\"}}}}
END",
        "npm install --registry https://npm.test/ --cache ./cache --no-audit --no-fund \\
            --no-update-notifier --fetch-retries 0 lab-package && test -f node_modules/lab-package/index.js",
    );
}

/// By root, as packages are installed, into a folder: the machine's own packages are left alone.
#[test]
fn apt_get_install() {
    assert_installs(
        "deb.test",
        r#"mkdir -p package/DEBIAN package/usr/share/lab && echo lab > package/usr/share/lab/file
         printf 'Package: lab-package\nVersion: 1.0\nArchitecture: all\nMaintainer: lab <lab@lab.test>\nDescription: lab\n' \
            > package/DEBIAN/control
         dpkg-deb --root-owner-group --build package site/lab-package_1.0_all.deb > /dev/null
         cd site && { cat ../package/DEBIAN/control; echo Filename: ./lab-package_1.0_all.deb
            echo Size: $(stat -c %s *.deb); echo SHA256: $(sha256sum *.deb | cut -d' ' -f1); } > Packages"#,
        r#"mkdir -p etc/apt.conf.d etc/preferences.d etc/trusted.gpg.d state/lists/partial cache/archives/partial log \
            root/var/lib/dpkg/info root/var/lib/dpkg/updates && touch root/var/lib/dpkg/status
         echo 'deb [trusted=yes] https://deb.test/ ./' > etc/sources.list
         cat > apt.conf <<END
Dir::Etc "$PWD/etc";
Dir::State "$PWD/state";
Dir::State::status "$PWD/root/var/lib/dpkg/status";
Dir::Cache "$PWD/cache";
Dir::Log "$PWD/log";
DPkg::Options { "--root=$PWD/root"; };
Acquire::Retries "0";
END
         case $SSL_CERT_FILE in /run/httpjail/*) ;; # The jail's own stores are enough.
            *) echo "Acquire::https::CAInfo \"$SSL_CERT_FILE\";" >> apt.conf ;; esac
         export APT_CONFIG=$PWD/apt.conf DEBIAN_FRONTEND=noninteractive
         apt-get -q update && apt-get -q -y install lab-package && grep -q lab root/usr/share/lab/file"#,
    );
}

/// Go's programs are static and read the system's stores by themselves.
#[test]
fn go_build() {
    assert_installs(
        "go.test",
        r#"mkdir -p site/lab.test/dep/@v && cd site/lab.test/dep/@v
         echo 'module lab.test/dep' > v1.0.0.mod && echo v1.0.0 > list
         echo '{"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}' > v1.0.0.info
         /usr/bin/python3 - <<'END'
import zipfile
with zipfile.ZipFile('v1.0.0.zip', 'w') as file:
    file.writestr('lab.test/dep@v1.0.0/go.mod', 'module lab.test/dep\n')
    file.writestr('lab.test/dep@v1.0.0/dep.go', 'package dep\nconst Lab = "built"\n')
END"#,
        r#"case $SSL_CERT_FILE in /run/httpjail/*) unset SSL_CERT_FILE ;; esac
         export GOPATH=$PWD/go GOCACHE=$PWD/cache GOPROXY=https://go.test GOSUMDB=off CGO_ENABLED=0 GOFLAGS=-mod=mod
         printf 'module program\nrequire lab.test/dep v1.0.0\n' > go.mod
         printf 'package main\nimport "lab.test/dep"\nfunc main() { println(dep.Lab) }\n' > main.go
         go build -o program . && ./program 2>&1 | grep -q built"#,
    );
}

#[test]
fn cargo_build() {
    assert_installs(
        "crates.test",
        "mkdir -p lab-crate-0.1.0/src site/index/la/b- site/dl/lab-crate/0.1.0 project/src project/.cargo
         printf '[package]\\nname = \"lab-crate\"\\nversion = \"0.1.0\"\\n' > lab-crate-0.1.0/Cargo.toml
         touch lab-crate-0.1.0/src/lib.rs project/src/lib.rs
         tar czf site/dl/lab-crate/0.1.0/download lab-crate-0.1.0
         sum=$(sha256sum site/dl/lab-crate/0.1.0/download | cut -d' ' -f1)
         echo '{\"dl\": \"https://crates.test/dl\"}' > site/index/config.json
         echo '{\"name\":\"lab-crate\",\"vers\":\"0.1.0\",\"deps\":[],\"cksum\":\"'$sum'\",\"features\":{},\"yanked\":false}' \\
            > site/index/la/b-/lab-crate
         printf '[registries.lab]\\nindex = \"sparse+https://crates.test/index/\"\\n[net]\\nretry = 0\\n' \\
            > project/.cargo/config.toml
         printf '[package]\\nname = \"project\"\\nversion = \"0.1.0\"\\n[dependencies]\\nlab-crate = { version = \"0.1\", registry = \"lab\" }\\n' \\
            > project/Cargo.toml",
        "cp -r ../project . && cd project && CARGO_HOME=$PWD/home cargo build -q \\
            && ls target/debug/deps/liblab_crate-*.rlib",
    );
}
