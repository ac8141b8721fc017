//! The steps of the workflow in docs/recipes-github-actions.md, as a runner runs them.

use crate::recipes::npm_registry;
use crate::scene::Scene;

#[test]
fn its_steps_install_and_test_and_its_page_tells() {
    let scene = Scene::of("docs/recipes-github-actions.md", "workflow");
    let registry = npm_registry(&scene);
    let other = scene.origin("example.com");
    scene.put(
        "package.json",
        r#"{"name": "app", "version": "1.0.0", "dependencies": {"left-pad": "1.3.0"},
            "scripts": {"test": "curl -s -o /dev/null -w '%{http_code} ' https://example.com/"}}"#,
    );
    scene.sh("npm install --package-lock-only --ignore-scripts").exits(0);
    scene.sh("cp bin/httpjail . && chmod -x httpjail").exits(0);
    let steps = scene.block.steps();
    assert_eq!(steps.len(), 3, "{steps:?}");
    let script =
        format!("set -e; export GITHUB_STEP_SUMMARY=$PWD/page; touch page\n{}", steps.join("\n"));
    let ran = scene.sh(&script).exits(0);
    assert!(ran.stdout.ends_with("403 "), "{ran:?}");
    assert!(scene.file("node_modules/left-pad/index.js").contains("lab"));
    assert!(scene.file("page").contains("registry.npmjs.org"));
    assert!(scene.file("install.jsonl").contains("left-pad-1.3.0.tgz"));
    assert!(!registry.seen().is_empty() && other.seen().is_empty());
    scene.lab.assert_clean();
}
