//! docs/modes.md.

use crate::scene::Scene;

#[test]
fn without_root_the_rule_is_the_same() {
    let scene = Scene::of("docs/modes.md", "weak");
    let github = scene.site(
        "github.com",
        "git init -q source && cd source && echo lab > file && git add file
        git -c user.name=lab -c user.email=lab@lab.test commit -qm lab && cd .. && mkdir x
        git clone -q --bare source x/y && git -C x/y update-server-info",
    );
    scene.run().exits(0);
    assert_eq!(scene.file("y/file"), "lab\n");
    let fetched = github.seen().len();
    let denied = scene.block.text.replace("'github.com'", "'github.org'");
    let other = scene.sh(&format!("rm -rf y; {denied}"));
    assert!(other.stderr.contains("403") && github.seen().len() == fetched, "{other:?}");
    scene.lab.assert_clean();
}

#[test]
fn without_root_nothing_is_forced() {
    let scene = Scene::of("docs/modes.md", "weak-past");
    let github = scene.origin("github.com");
    scene.assert_session();
    assert_eq!(github.seen_lines(), ["GET http://github.com/"]);
    scene.lab.assert_clean();
}

#[test]
fn a_proxy_alone_is_used_by_who_is_told_of_it() {
    let scene = Scene::of("docs/modes.md", "server");
    let github = scene.origin("github.com");
    let (server, client) = scene.block.text.trim_end().split_once('\n').expect("two commands");
    let script = format!(
        "{server} 2> talk & until grep -q 'programs must trust' talk; do :; done
        {client}; kill $!; wait $!; cat requests.log"
    );
    let ran = scene.sh(&script).exits(0);
    assert!(ran.stdout.starts_with("hello from github.com\n"), "{ran:?}");
    assert!(ran.stdout.ends_with(" + GET https://github.com/\n"), "{ran:?}");
    assert_eq!(github.seen().len(), 1);
    scene.lab.assert_clean();
}
