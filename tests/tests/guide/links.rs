//! The summary and the links of all documents.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use httpjail_tests::markdown::{Document, documents, workspace};

/// Documents below `docs/` that are no chapters of the guide.
fn is_chapter(name: &str) -> bool {
    name.starts_with("docs/") && !name.starts_with("docs/man/") && name != "docs/SUMMARY.md"
}

#[test]
fn the_summary_names_every_chapter_once() {
    let mut named: Vec<String> =
        Document::read("docs/SUMMARY.md").links().iter().map(|it| format!("docs/{it}")).collect();
    named.sort();
    let chapters = documents().into_iter().map(|document| document.name);
    let chapters: Vec<String> = chapters.filter(|name| is_chapter(name)).collect();
    assert_eq!(named, chapters);
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let documents = documents();
    let anchors: HashMap<&str, _> =
        documents.iter().map(|document| (document.name.as_str(), document.anchors())).collect();
    let mut wrong = Vec::new();
    for document in &documents {
        for link in document.links().iter().filter(|link| !link.contains("://")) {
            let (path, anchor) =
                link.split_once('#').map_or((&**link, None), |(p, a)| (p, Some(a)));
            let folder = Path::new(&document.name).parent().expect("a file's folder");
            let target = match path {
                "" => PathBuf::from(&document.name),
                path => plain(&folder.join(path)),
            };
            let is_there = workspace().join(&target).exists();
            let heading = anchor.is_none_or(|anchor| {
                let target = target.to_str().expect("a plain name");
                anchors.get(target).is_some_and(|anchors| anchors.contains(anchor))
            });
            if !(is_there && heading) {
                wrong.push(format!("{}: {link}", document.name));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere: {wrong:#?}");
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}
