//! docs/recipes.md and the pages about agents and containers: real clients, and servers of the lab that
//! bear the names of the Internet's.

use httpjail_tests::containers::{Containers, IMAGE};
use httpjail_tests::{Origin, addresses, openssl, programs};

use rustix::process::Signal;

use crate::scene::Scene;

/// The registry of npm, with one package.
pub(crate) fn npm_registry(scene: &Scene) -> Origin {
    scene.put(".npmrc", "audit=false\nfund=false\nupdate-notifier=false\nfetch-retries=0\n");
    scene.site(
        "registry.npmjs.org",
        r#"mkdir -p package left-pad/-
        echo 'module.exports = "lab"' > package/index.js
        echo '{"name": "left-pad", "version": "1.3.0"}' > package/package.json
        tar czf left-pad/-/left-pad-1.3.0.tgz package
        cat > left-pad/index.html <<'END'
{"name": "left-pad", "dist-tags": {"latest": "1.3.0"}, "versions": {"1.3.0": {
  "name": "left-pad", "version": "1.3.0",
  "dist": {"tarball": "https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz"}}}}
END"#,
    )
}

/// The index of Python's packages and the server of its files, with one package.
fn python_index(scene: &Scene) -> [Origin; 2] {
    let files = scene.site(
        "files.pythonhosted.org",
        "mkdir -p packages && cd packages && /usr/bin/python3 - <<'END'
import zipfile
info = 'requests-1.0.dist-info/'
with zipfile.ZipFile('requests-1.0-py3-none-any.whl', 'w') as file:
    file.writestr('requests/__init__.py', '')
    file.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: requests\\nVersion: 1.0\\n')
    file.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    file.writestr(info + 'RECORD', '')
END",
    );
    let index = scene.site(
        "pypi.org",
        "mkdir -p simple/requests
        file=requests-1.0-py3-none-any.whl
        echo \"<!DOCTYPE html><html><body>
            <a href=https://files.pythonhosted.org/packages/$file>$file</a>
            </body></html>\" > simple/requests/index.html",
    );
    [index, files]
}

/// The registry of Rust's crates, with one crate, and a project that wants it.
fn crates(scene: &Scene) -> [Origin; 2] {
    let files = scene.site(
        "static.crates.io",
        "mkdir -p lab-crate-0.1.0/src crates/lab-crate/0.1.0
        printf '[package]\\nname = \"lab-crate\"\\nversion = \"0.1.0\"\\n' > lab-crate-0.1.0/Cargo.toml
        touch lab-crate-0.1.0/src/lib.rs
        tar czf crates/lab-crate/0.1.0/download lab-crate-0.1.0
        sha256sum crates/lab-crate/0.1.0/download | cut -d' ' -f1 > sum",
    );
    let index = scene.site(
        "index.crates.io",
        "mkdir -p la/b-
        echo '{\"dl\": \"https://static.crates.io/crates\", \"api\": \"https://crates.io\"}' > config.json
        sum=$(cat ../static.crates.io/sum)
        echo '{\"name\":\"lab-crate\",\"vers\":\"0.1.0\",\"deps\":[],\"cksum\":\"'$sum'\",\"features\":{},\"yanked\":false}' > la/b-/lab-crate",
    );
    scene.put(
        "Cargo.toml",
        "[package]\nname = \"project\"\nversion = \"0.1.0\"\n[dependencies]\nlab-crate = \"0.1\"\n",
    );
    scene.put("src/lib.rs", "");
    [index, files]
}

#[test]
fn what_a_build_asks_for_is_told() {
    let scene = Scene::of("docs/recipes.md", "look");
    let origin = scene.origin("example.com");
    scene.put("Makefile", "deps:\n\t@curl -sS https://example.com/dep\n");
    let ran = scene.run().exits(0);
    assert_eq!(ran.stdout, "hello from example.com\n");
    assert!(ran.stderr.contains("1 request allowed") || ran.stderr.contains("1 requests allowed"));
    assert!(scene.file("requests.log").ends_with(" + GET https://example.com/dep\n"));
    assert_eq!(origin.seen().len(), 1);
    scene.lab.assert_clean();
}

#[test]
fn npm_installs() {
    let scene = Scene::of("docs/recipes.md", "npm");
    npm_registry(&scene);
    scene.run().exits(0);
    assert!(scene.file("node_modules/left-pad/index.js").contains("lab"));
    scene.lab.assert_clean();
}

#[test]
fn pip_installs() {
    for id in ["pip", "pip-told"] {
        let scene = match id {
            "pip" => Scene::of("docs/recipes.md", "pip"),
            _ => Scene::of("docs/recipes.md", "pip-told"),
        };
        python_index(&scene);
        scene.run().exits(0);
        assert!(scene.lab.home().join("vendor/requests/__init__.py").is_file());
        scene.lab.assert_clean();
    }
}

/// The other requests that such a rule is about: one that sends too much, one to another host.
#[test]
fn a_package_index_alone_is_asked_and_little_is_sent() {
    let scene = Scene::of("docs/recipes.md", "pip-told");
    let (index, other) = (scene.origin("pypi.org"), scene.origin("example.com"));
    scene.program(
        "pip",
        "head -c 9999 /dev/zero > body
        curl -sS -o /dev/null -w '%{http_code} ' https://pypi.org/simple/requests/
        curl -sS -o /dev/null -w '%{http_code} ' --data-binary @body https://pypi.org/legacy/
        curl -sS https://example.com/",
    );
    let told = "Request blocked by httpjail\nexample.com is not a package index";
    assert_eq!(scene.run().exits(0).stdout.trim_end(), format!("200 413 {told}"));
    assert_eq!((index.seen().len(), other.seen().len()), (1, 0));
    scene.lab.assert_clean();
}

#[test]
fn cargo_fetches_and_then_builds_without_network() {
    let scene = Scene::of("docs/recipes.md", "cargo");
    let [index, files] = crates(&scene);
    // rustup's is in a folder of root's, whose own registry is none of the lab's business.
    let cargo = programs::require("cargo");
    let home = "export CARGO_HOME=$PWD/registry CARGO_NET_RETRY=0; unset CARGO RUSTUP_TOOLCHAIN";
    scene.program("cargo", &format!("{home}\nexec {} \"$@\"", cargo.display()));
    scene.run_as_root().exits(0);
    assert!(scene.lab.home().join("target/debug/libproject.rlib").is_file());
    assert!(!index.seen().is_empty() && files.seen().len() == 1);
    scene.lab.assert_clean();
}

#[test]
fn go_downloads_and_then_builds_without_network() {
    let scene = Scene::of("docs/recipes.md", "go");
    scene.site(
        "proxy.golang.org",
        r#"mkdir -p lab.test/dep/@v && cd lab.test/dep/@v
        echo 'module lab.test/dep' > v1.0.0.mod && echo v1.0.0 > list
        echo '{"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}' > v1.0.0.info
        /usr/bin/python3 - <<'END'
import zipfile
with zipfile.ZipFile('v1.0.0.zip', 'w') as file:
    file.writestr('lab.test/dep@v1.0.0/go.mod', 'module lab.test/dep\n')
    file.writestr('lab.test/dep@v1.0.0/dep.go', 'package dep\nconst Lab = "built"\n')
END"#,
    );
    scene.put("go.mod", "module program\nrequire lab.test/dep v1.0.0\n");
    scene.put(
        "main.go",
        "package main\nimport \"lab.test/dep\"\nfunc main() { println(dep.Lab) }\n",
    );
    // The lab can't sign what Go's own database of sums would.
    scene.put(".config/go/env", "GOSUMDB=off\nGOFLAGS=-mod=mod\n");
    scene.run().exits(0);
    assert!(scene.sh("./program").exits(0).stderr.contains("built"));
    scene.lab.assert_clean();
}

#[test]
fn a_jailed_test_has_its_own_servers_and_no_others() {
    let scene = Scene::of("docs/recipes.md", "tests");
    let origin = scene.origin("example.com");
    scene.put(
        "Makefile",
        "test:\n\t@/usr/bin/python3 -m http.server --bind 127.0.0.1 8123 > /dev/null 2>&1 & \\\n\
         \tuntil curl -s -o /dev/null http://127.0.0.1:8123/; do :; done; echo local; \\\n\
         \tcurl -s -o /dev/null -w '%{http_code}\\n' https://example.com/\n",
    );
    assert_eq!(scene.run().exits(0).stdout, "local\n403\n");
    assert!(origin.seen().is_empty());
    scene.lab.assert_clean();
}

#[test]
fn a_private_address_is_reached_where_it_is_opened() {
    let scene = Scene::of("docs/recipes.md", "private");
    scene.lab.set_name("db.internal", &[addresses::PRIVATE_V4.into()]);
    scene.put("reply", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let address = addresses::PRIVATE_V4.to_string();
    let listener =
        scene.lab.start_at_origins(vec!["sh", "-c", "exec nc -N -l \"$0\" 8080 < reply", &address]);
    let closed = scene.sh(&scene.block.text.replace("--allow-private=10.77.0.0/16 ", ""));
    assert!(closed.stdout.contains("--allow-private allows it"), "{closed:?}");
    assert_eq!(scene.run().exits(0).stdout, "hello");
    listener.finish();
    scene.lab.assert_clean();
}

#[test]
fn origins_of_ones_own_are_trusted_and_shown_a_certificate() {
    let scene = Scene::of("docs/recipes.md", "certificates");
    openssl::furnish_certificates(&scene.lab, "api.internal");
    scene.lab.set_name("api.internal", &[addresses::WIRE_V4.into()]);
    let names = "mv ca.pem our-ca.pem; mv client.key client-key.pem; chmod a+r *.pem; chmod 600 client-key.pem";
    scene.lab.outside().sh(names).exits(0);
    let _server =
        openssl::Server::start(&scene.lab, 443, &["-Verify", "1", "-CAfile", "our-ca.pem"]);
    let without = scene.sh("curl -sS --cacert our-ca.pem https://api.internal/");
    assert_ne!(without.code, Some(0), "it wants a certificate: {without:?}");
    let ran = scene.run().exits(0);
    assert!(ran.stdout.contains("Subject: CN=client"), "{ran:?}");
    scene.lab.assert_clean();
}

#[test]
fn allowed_requests_go_through_the_proxy_that_is_named() {
    let scene = Scene::of("docs/recipes.md", "upstream-proxy");
    let github = scene.origin("github.com");
    scene.lab.forward_proxy();
    assert_eq!(scene.run().exits(0).stdout, "hello from github.com\n");
    assert_eq!(github.seen().len(), 1);
    scene.lab.assert_clean();
}

#[test]
fn a_published_server_is_reached_from_outside() {
    let scene = Scene::of("docs/recipes.md", "publish");
    scene.put("hello", "hello from the jail\n");
    for (script, code) in [
        (scene.block.text.clone(), 0),
        // And without the option it isn't.
        (scene.block.text.replace("--publish 8000 ", ""), 7),
    ] {
        let script = script.replace("-m http.server", "-u -m http.server");
        let server = scene.start(&format!("exec {}", script));
        server.line("Serving HTTP");
        let client = scene.sh("curl -s --max-time 5 http://127.0.0.1:8000/hello");
        assert_eq!(client.code == Some(0), code == 0, "{client:?}");
        server.signal(Signal::TERM); // sudo hands it on.
        server.finish();
    }
    scene.lab.assert_clean();
}

#[test]
fn git_by_ssh_reaches_its_server_and_nothing_else_gets_out() {
    let scene = Scene::of("docs/recipes.md", "git-ssh");
    let other = scene.origin("example.com");
    let ssh = scene.lab.ssh_server("github.com");
    let client = ssh.client();
    // A key and a known host of the lab's, and its user's name in place of `git`.
    scene.program(
        "git",
        &format!(
            "shift; url=$1; curl -s -o /dev/null -w '%{{http_code}} ' https://example.com/
            exec {client} -n labuser@${{url#git@}} true 2>&1",
        )
        .replace("${url#git@}", "$(expr \"$url\" : 'git@\\([^:]*\\)')"),
    );
    assert_eq!(scene.run().exits(0).stdout, "403 ");
    assert!(other.seen().is_empty());
    scene.lab.assert_clean();
}

/// Agents aren't run: a script stands in for each, and asks for what the rule is about.
#[test]
fn an_agent_reaches_its_model_alone() {
    for (scene, agent, api, key) in [
        (Scene::of("docs/recipes-agents.md", "claude"), "claude", "api.anthropic.com", "ANTHROPIC"),
        (Scene::of("docs/recipes-agents.md", "codex"), "codex", "api.openai.com", "OPENAI"),
    ] {
        let (model, other) = (scene.origin(api), scene.origin("example.com"));
        scene.program(
            agent,
            &format!(
                "echo $(id -un) ${key}_API_KEY
                for host in {api} example.com; do
                    curl -sS -o /dev/null -w '%{{http_code}} ' -d x https://$host/; done"
            ),
        );
        let script = format!("export {key}_API_KEY=secret\n{}", scene.block.text);
        assert_eq!(scene.sh(&script).exits(0).stdout, "labuser secret\n200 403 ");
        assert_eq!((model.seen().len(), other.seen().len()), (1, 0));
        scene.lab.assert_clean();
    }
}

/// The rule lies where the agent can't write, so that `--strict` is content and a change counts.
#[test]
fn an_agents_rule_is_kept_from_it() {
    let scene = Scene::of("docs/recipes-agents.md", "agent");
    let (api, other) = (scene.origin("api.github.com"), scene.origin("example.com"));
    scene.asks(
        "my-agent",
        &[
            "GET https://api.github.com/repos/them/lib",
            "POST https://api.github.com/repos/us/app/issues",
            "POST https://api.github.com/gists",
            "GET https://example.com/",
        ],
    );
    let ran = scene.run_with_folder_of_roots().exits(0);
    assert_eq!(ran.stdout, "200 200 403 403 ");
    assert_eq!((api.seen().len(), other.seen().len()), (2, 0));
    assert_eq!(scene.file("agent.jsonl").matches("\"kind\":\"request\"").count(), 4);
    scene.lab.assert_clean();
}

#[test]
fn the_doctor_tells_what_a_place_lacks() {
    let scene = Scene::of("docs/recipes-containers.md", "doctor");
    // Here it is the plain user, who lacks privileges as most containers do.
    let told = scene.run().exits(1);
    assert!(told.stdout.contains("in a container: --cap-add BPF,NET_ADMIN,SYS_ADMIN"), "{told:?}");
    scene.lab.assert_clean();
}

#[test]
fn a_container_asks_for_what_it_may() {
    let scene = Scene::of("docs/recipes-containers.md", "container");
    let containers = container_engine(&scene);
    let github = scene.origin("github.com");
    let ran = scene.run();
    assert_eq!(ran.stdout, "hello from github.com\n", "{ran:?}");
    assert!(ran.stderr.contains("403"), "{ran:?}");
    let log = scene.file("requests.log");
    assert!(log.contains(" + GET http://github.com/x/y"), "{log}");
    assert!(log.contains(" - GET http://example.com/"), "{log}");
    assert_eq!(github.seen().len(), 1);
    assert_eq!(containers.all(), Vec::<String>::new());
    scene.lab.assert_clean();
}

/// Podman by the name of docker, as Debian's podman-docker has it, and an image that is called alpine.
pub(crate) fn container_engine(scene: &Scene) -> Containers<'_> {
    let containers = Containers::podman(&scene.lab, &[]);
    scene.program("docker", &format!("{}exec podman \"$@\"", containers.exports()));
    containers.outside().run(["podman", "tag", IMAGE, "docker.io/library/alpine:latest"]).exits(0);
    containers
}
