//! Sessions that need no servers print what the documents say: rules judged by `--test`, messages.

use httpjail_tests::markdown::Document;

use crate::scene::Scene;

/// Runs the sessions of a document that have no scene of their own.
fn assert_sessions(document: &str) {
    let document = Document::read(document);
    let sessions = document
        .blocks
        .iter()
        .filter(|block| block.language == "console" && !block.marks.contains_key("run"));
    for block in sessions {
        let scene = Scene::for_session(&document, block);
        scene.assert_session();
        scene.lab.assert_clean();
    }
}

macro_rules! documents {
    ($($test:ident: $document:literal,)*) => {
        $(
            #[test]
            fn $test() {
                assert_sessions($document);
            }
        )*

        /// Documents whose sessions are run.
        pub(crate) const DOCUMENTS: &[&str] = &[$($document),*];
    };
}

documents! {
    readme: "README.md",
    quick_start: "docs/quick-start.md",
    rules: "docs/rules.md",
    patterns: "docs/rules-patterns.md",
    javascript: "docs/rules-javascript.md",
    programs: "docs/rules-programs.md",
    recipes: "docs/recipes.md",
    github_actions: "docs/recipes-github-actions.md",
    agents: "docs/recipes-agents.md",
    modes: "docs/modes.md",
    moving: "docs/moving.md",
    troubleshooting: "docs/troubleshooting.md",
}
