//! docs/troubleshooting.md.

use crate::scene::Scene;

/// `cleanup` removes what dead runs left, and leaves what lives alone: the tests beside this one.
#[test]
fn cleanup_is_content_where_nothing_is_left() {
    let scene = Scene::of("docs/troubleshooting.md", "cleanup");
    let told = scene.run().exits(0);
    assert!(told.stderr.contains("httpjail: removed "), "{told:?}");
    scene.lab.assert_clean();
}
