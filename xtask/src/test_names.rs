//! The tests that there are, as the source has them: catalogues name them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::tools;

/// Where tests are.
const FOLDERS: [&str; 6] = [
    "tests/tests",
    "httpjail/src",
    "httpjail/tests",
    "httpjail-common/src",
    "macos/src",
    "tests/src",
];

/// A test function.
#[derive(Debug)]
pub(crate) struct TestName {
    /// The name of its file, without the end.
    pub(crate) file: String,
    /// Its own.
    pub(crate) test: String,
}

/// All of them.
pub(crate) fn test_names() -> Vec<TestName> {
    let files = FOLDERS.iter().flat_map(|folder| rust_files(&tools::workspace().join(folder)));
    files.flat_map(|file| in_file(&file)).collect()
}

fn in_file(path: &Path) -> Vec<TestName> {
    let source = fs::read_to_string(path).unwrap();
    let file = path.file_stem().unwrap().to_string_lossy();
    let behind_marks = source.split("#[test]\n").skip(1);
    behind_marks.map(|text| TestName { file: file.to_string(), test: function(text) }).collect()
}

/// The name of the first function in `text`.
fn function(text: &str) -> String {
    let (_, rest) = text.split_once("fn ").unwrap();
    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The Rust files in a folder and below it.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.flat_map(|path| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    files.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}
