//! Who may know whom: the layers that ARCHITECTURE.md draws, read off the source.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::tools;

/// What each module of the library may import from its siblings. `session` is where all meet.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("backend", &[]),
    ("policy", &["record"]),
    ("record", &["policy"]),
    ("rules", &["policy"]),
    ("dns", &["policy", "record"]),
    ("tls", &["policy"]),
    ("streams", &[]),
    ("upstream", &["policy", "streams"]),
    ("proxy", &["policy", "record", "streams", "tls", "upstream"]),
];

/// Crates that are named in one place only, so that each could be replaced there.
const NAMED_IN: &[(&str, &str)] = &[
    ("aya_obj", "backend/linux/"),
    ("mnl", "backend/linux/"),
    ("nftnl", "backend/linux/"),
    ("rcgen", "tls/"),
    ("rquickjs", "rules/quickjs"),
];

/// Where `unsafe` may stand.
const UNSAFE_IN: &[&str] = &["backend/linux/", "backend/macos/", "backend/user/", "rules/quickjs"];

/// Checks the library's source against the layers.
///
/// # Errors
/// Lists every line of dependency that the architecture doesn't have.
pub(crate) fn check() -> Result<()> {
    let root = tools::workspace().join("httpjail/src");
    let mut violations = Vec::new();
    for file in rust_files(&root)? {
        let source = fs::read_to_string(&file)
            .with_context(|| format!("failed to read {}", file.display()))?;
        let name = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
        violations.extend(violations_of(&name, &source));
    }
    ensure!(violations.is_empty(), "layers are crossed:\n  {}", violations.join("\n  "));
    Ok(())
}

/// What is wrong with one file, by its path below `httpjail/src`.
fn violations_of(file: &str, source: &str) -> Vec<String> {
    let code = product_code(source);
    let module = file.split(['/', '.']).next().unwrap_or(file);
    let mut found = Vec::new();

    if let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == module) {
        for known in siblings(&code) {
            if known != module && is_module(&known) && !allowed.contains(&known.as_str()) {
                found.push(format!("{file}: {module} may not know {known}"));
            }
        }
    }
    for (name, place) in NAMED_IN {
        if !file.starts_with(place) && words(&code).any(|word| word == *name) {
            found.push(format!("{file}: {name} is named outside {place}"));
        }
    }
    let may_be_unsafe = UNSAFE_IN.iter().any(|place| file.starts_with(place));
    if !may_be_unsafe && words(&code).any(|word| word == "unsafe") {
        found.push(format!("{file}: unsafe code outside {}", UNSAFE_IN.join(", ")));
    }
    found
}

/// The code without comments and without the tests, which stand last in a file.
fn product_code(source: &str) -> String {
    let product = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    product
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The modules that `crate::x` and `crate::{x, y::z}` name.
fn siblings(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (_, rest) in
        code.match_indices("crate::").map(|(at, found)| (at, &code[at + found.len()..]))
    {
        match rest.strip_prefix('{') {
            Some(group) => names.extend(heads(group)),
            None => names.extend(words(rest).next().map(str::to_owned)),
        }
    }
    names
}

/// The first words of the members of a `use` group, up to its closing brace.
fn heads(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0_u32;
    let mut member = String::new();
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.extend(words(&member).next().map(str::to_owned));
                member.clear();
                if character == '}' {
                    break;
                }
                continue;
            }
            '}' => depth -= 1,
            _ => {}
        }
        member.push(character);
    }
    names
}

fn is_module(name: &str) -> bool {
    ["cli", "session"].contains(&name) || MAY_KNOW.iter().any(|(module, _)| *module == name)
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// All Rust files below `folder` but those that hold only tests.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_keeps_its_layers() {
        check().unwrap();
    }

    #[test]
    fn finds_a_proxy_that_knows_the_backend() {
        for source in ["use crate::backend::Maps;", "use crate::{policy::Gate, backend::{self}};"] {
            assert_eq!(
                violations_of("proxy/serve.rs", source),
                ["proxy/serve.rs: proxy may not know backend"],
                "{source}"
            );
        }
    }

    #[test]
    fn finds_a_crate_named_outside_its_place() {
        assert_eq!(violations_of("tls/leaf.rs", "use rcgen::KeyPair;"), Vec::<String>::new());
        assert_eq!(violations_of("proxy/serve.rs", "rcgen::generate()").len(), 1);
        assert_eq!(violations_of("session/mod.rs", "use nftnl::Table;").len(), 1);
    }

    #[test]
    fn finds_unsafe_code_outside_its_place() {
        assert_eq!(violations_of("backend/linux/sys.rs", "unsafe { x() }").len(), 0);
        assert_eq!(violations_of("proxy/serve.rs", "unsafe { x() }").len(), 1);
    }

    #[test]
    fn comments_and_tests_know_whom_they_like() {
        let source = "//! See crate::backend.\n#[cfg(test)]\nmod tests { use crate::backend::X; }";
        assert_eq!(violations_of("proxy/serve.rs", source), Vec::<String>::new());
    }

    #[test]
    fn the_meeting_place_may_know_all() {
        let source = "use crate::backend::Maps; use crate::proxy::Config;";
        assert_eq!(violations_of("session/run.rs", source), Vec::<String>::new());
    }
}
