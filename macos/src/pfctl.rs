//! pfctl(8): loading and flushing a jail's anchor, and keeping pf enabled while a jail lives.
//!
//! macOS counts who needs pf: `-E` enables it and gives a token, `-X` gives that back, and pf is
//! disabled when none is out (pfctl(8)). `-e` and `-d` would switch it for all.

use std::{
    io::{self, Write},
    process::{Command, Output, Stdio},
};

/// By its path: it runs as root.
const PFCTL: &str = "/sbin/pfctl";

/// What pfctl did not do.
#[derive(Debug, thiserror::Error)]
pub enum PfError {
    /// It can't be run.
    #[error("run {PFCTL}")]
    Run(#[source] io::Error),
    /// It failed.
    #[error("run {PFCTL} {arguments}: {said}")]
    Failed {
        /// How it was called.
        arguments: String,
        /// Its own words.
        said: String,
    },
    /// It enabled pf and gave no token, so pf could not be released.
    #[error("find the token in what {PFCTL} -E said: {0}")]
    Token(String),
}

/// Puts `rules` into `anchor`, in place of what was there.
///
/// # Errors
///
/// When pfctl fails; its words say at which line.
pub fn load(anchor: &str, rules: &str) -> Result<(), PfError> {
    run(&load_arguments(anchor), rules).map(drop)
}

/// Takes all rules out of `anchor`, which is gone with them.
///
/// # Errors
///
/// When pfctl fails.
pub fn flush(anchor: &str) -> Result<(), PfError> {
    run(&flush_arguments(anchor), "").map(drop)
}

/// Enables pf for as long as the token isn't given back.
///
/// # Errors
///
/// When pfctl fails, or says nothing of a token.
pub fn enable() -> Result<Token, PfError> {
    // It says so on standard error; which of the two is nowhere promised.
    let said = run(&["-E"], "")?;
    Token::find(&said).ok_or(PfError::Token(said))
}

/// Gives a token back.
///
/// # Errors
///
/// When pfctl fails.
pub fn release(token: &Token) -> Result<(), PfError> {
    run(&["-X", &token.0], "").map(drop)
}

/// What pf is told to know who enabled it: a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// `None` when it isn't a number.
    pub fn new(text: &str) -> Option<Self> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| Self(text.to_owned()))
    }

    /// The number.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From the line `Token : 1234`.
    fn find(said: &str) -> Option<Self> {
        said.lines().find_map(|line| {
            let (name, token) = line.split_once(':')?;
            (name.trim() == "Token").then(|| Self::new(token.trim()))?
        })
    }
}

fn load_arguments(anchor: &str) -> [&str; 5] {
    ["-q", "-a", anchor, "-f", "-"]
}

/// With `-a`, "all" is what the anchor holds: the states of other programs stay.
fn flush_arguments(anchor: &str) -> [&str; 5] {
    ["-q", "-a", anchor, "-F", "all"]
}

/// Runs it with `input`, and returns all that it said.
fn run(arguments: &[&str], input: &str) -> Result<String, PfError> {
    let mut command = Command::new(PFCTL);
    command.args(arguments).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(PfError::Run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended already says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(PfError::Run)?;
    let said = words(&output);
    if output.status.success() {
        return Ok(said);
    }
    Err(PfError::Failed { arguments: arguments.join(" "), said: said.trim().to_owned() })
}

fn words(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_token() {
        let said = "No ALTQ support in kernel\nALTQ related functions disabled\npf enabled\n\
                    Token : 6216352713043837751\n";
        assert_eq!(Token::find(said).unwrap().as_str(), "6216352713043837751");
    }

    #[test]
    fn what_is_no_number_is_no_token() {
        for said in ["", "pf enabled\n", "Token :\n", "Token : -X all\n", "token 1\n"] {
            assert_eq!(Token::find(said), None, "{said:?}");
        }
    }

    #[test]
    fn touches_its_own_anchor_alone() {
        let anchor = "com.apple/000.httpjail-x";
        assert_eq!(load_arguments(anchor).join(" "), format!("-q -a {anchor} -f -"));
        assert_eq!(flush_arguments(anchor).join(" "), format!("-q -a {anchor} -F all"));
    }
}
