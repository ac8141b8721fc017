//! README.md.

use httpjail_tests::programs;

use crate::recipes::{container_engine, npm_registry};
use crate::scene::Scene;

/// A server of GitHub's name with the repository `x/y`.
fn github(scene: &Scene) -> httpjail_tests::Origin {
    scene.site(
        "github.com",
        "git init -q source && cd source && echo lab > file && git add file
        git -c user.name=lab -c user.email=lab@lab.test commit -qm lab && cd .. && mkdir x
        git clone -q --bare source x/y && git -C x/y update-server-info",
    )
}

#[test]
fn the_first_command_lets_out_github_alone() {
    let scene = Scene::of("README.md", "first");
    let github = github(&scene);
    scene.assert_session();
    assert_eq!(scene.file("y/file"), "lab\n");
    let fetched = github.seen().len();
    let command = scene.block.session()[0].0.replace("'github.com'", "'github.org'");
    let other = scene.sh(&format!("rm -rf y; {command}"));
    assert!(other.stderr.contains("403"), "{other:?}");
    assert_eq!(github.seen().len(), fetched);
    scene.lab.assert_clean();
}

/// `cargo xtask run` builds and hands on what stands behind `--`; a script does the latter here.
#[test]
fn the_first_try_shows_a_page() {
    let scene = Scene::of("README.md", "try");
    scene.origin("github.com");
    scene.program(
        "cargo",
        "test \"$1 $2 $3\" = 'xtask run --' && shift 3 && exec sudo httpjail \"$@\"",
    );
    assert!(scene.run().exits(0).stdout.starts_with("HTTP/2 200"));
    scene.lab.assert_clean();
}

#[test]
fn the_agent_reads_and_never_writes() {
    let scene = Scene::of("README.md", "agent");
    let api = scene.origin("api.github.com");
    scene
        .asks("my-agent", &["GET https://api.github.com/user", "POST https://api.github.com/user"]);
    assert_eq!(scene.run().exits(0).stdout, "200 403 200 403 ");
    assert_eq!(api.seen().len(), 2);
    scene.lab.assert_clean();
}

#[test]
fn the_log_has_a_line_for_each_request() {
    let scene = Scene::of("README.md", "log");
    npm_registry(&scene);
    let ran = scene.run().exits(0);
    assert!(ran.stderr.contains("registry.npmjs.org"), "{ran:?}");
    let log = scene.file("requests.log");
    assert!(
        log.lines()
            .next()
            .is_some_and(|line| line.ends_with(" + GET https://registry.npmjs.org/left-pad"))
    );
    scene.lab.assert_clean();
}

#[test]
fn the_command_is_told_why_and_limited() {
    let scene = Scene::of("README.md", "told");
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
fn a_list_or_a_program_decides() {
    let scene = Scene::of("README.md", "programs");
    let (listed, api) = (scene.origin("registry.npmjs.org"), scene.origin("api.github.com"));
    let rule = httpjail_tests::markdown::Document::read("docs/rules-programs.md");
    scene.put("allowed-hosts", &rule.block("file", "allowed-hosts").text);
    scene.put("rule.py", &rule.block("file", "rule.py").text);
    scene.asks("npm", &["GET https://registry.npmjs.org/x", "GET https://api.github.com/user"]);
    scene
        .asks("my-agent", &["GET https://api.github.com/user", "POST https://api.github.com/user"]);
    assert_eq!(scene.run().exits(0).stdout, "200 403 200 403 ");
    assert_eq!((listed.seen().len(), api.seen().len()), (1, 1));
    scene.lab.assert_clean();
}

#[test]
fn what_is_opened_is_no_door_for_requests_and_the_bank_is_reached_by_its_name() {
    let scene = Scene::of("README.md", "unread");
    let (github, bank) = (scene.origin("github.com"), scene.origin("bank.example"));
    scene.asks("git", &["GET https://github.com/x/y/info/refs", "GET https://example.com/"]);
    // The lab's authority is the only one that it takes.
    let ask = "curl -sS -o /dev/null -w '%{http_code} ' https://bank.example/ --cacert";
    scene.program("bank-client", &format!("{ask} {}", scene.lab.ca_file().display()));
    let script =
        scene.block.text.replace("--passthrough", "--request-log requests.log --passthrough");
    assert_eq!(scene.sh(&script).exits(0).stdout, "403 403 200 ");
    assert_eq!((github.seen().len(), bank.seen().len()), (0, 1));
    let log = scene.file("requests.log");
    assert!(log.ends_with(" + TLS tls://bank.example:443\n"), "{log}");
    scene.lab.assert_clean();
}

#[test]
fn the_modes_without_a_jail_judge_alike() {
    let scene = Scene::of("README.md", "modes");
    let github = github(&scene);
    scene.put("rule.js", "r.host === 'github.com'");
    let (weak, server) = scene.block.text.trim_end().split_once('\n').expect("two commands");
    let script = format!(
        "set -e; {weak}; {server} 2> talk & until grep -q 'programs must trust' talk; do :; done
        curl -s -o /dev/null -w '%{{http_code}} ' -x 127.0.0.1:8080 http://github.com/x/y/HEAD
        kill $!; wait $!; cat requests.log"
    );
    let script = script.replace(&format!("{weak}; {server}"), &format!("{weak}\n{server}"));
    let ran = scene.sh(&script).exits(0);
    assert!(
        ran.stdout.starts_with("200 ") && ran.stdout.contains("+ GET http://github.com/x/y/HEAD")
    );
    assert_eq!(scene.file("y/file"), "lab\n");
    assert!(github.seen().len() > 1);
    scene.lab.assert_clean();
}

#[test]
fn the_doctor_is_content() {
    let scene = Scene::of("README.md", "doctor");
    assert!(programs::httpjail().is_file());
    scene.run().exits(0);
    scene.lab.assert_clean();
}

#[test]
fn the_container_reads_from_github_alone() {
    let scene = Scene::of("README.md", "container");
    let containers = container_engine(&scene);
    let github = scene.origin("github.com");
    let ran = scene.run();
    assert_eq!(ran.stdout, "hello from github.com\n", "{ran:?}");
    assert_eq!(github.seen().len(), 1);
    assert_eq!(containers.all(), Vec::<String>::new());
    scene.lab.assert_clean();
}
