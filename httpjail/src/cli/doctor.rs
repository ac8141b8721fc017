//! `httpjail doctor`: what stands and what is missing on this host.

use std::io::{self, Write};

use serde_json::json;

use super::exit;
use crate::backend::finding::{Finding, State};
#[cfg(target_os = "linux")]
use crate::backend::linux::probe;
#[cfg(target_os = "macos")]
use crate::backend::macos::probe;

/// The system's name, as people write it.
const SYSTEM: &str = if cfg!(target_os = "macos") { "macOS" } else { "Linux" };

/// Prints every guard, as a table or as JSON.
///
/// # Errors
///
/// When standard output can't be written to.
pub(super) fn run(as_json: bool, out: &mut impl Write) -> io::Result<u8> {
    let findings = probe::findings();
    let kernel = probe::kernel();
    if as_json {
        print_json(&kernel, &findings, out)?;
    } else {
        print_table(&kernel, &findings, out)?;
    }
    let sound = findings.iter().all(|finding| !finding.mandatory || finding.state.holds());
    Ok(if sound { exit::OK } else { exit::DENIED })
}

fn print_table(kernel: &str, findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "httpjail {} on {SYSTEM} {kernel}\n", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "{:<16}{:<10}{:<8}what it holds back", "guard", "state", "since")?;
    for finding in findings {
        let Finding { guard, state, since, holds, .. } = finding;
        writeln!(out, "{guard:<16}{state:<10}{since:<8}{holds}")?;
    }
    for finding in findings.iter().filter(|finding| !finding.state.holds()) {
        let weight = if finding.mandatory { "no jail without it" } else { "jails do without" };
        writeln!(out, "\n{} ({weight}): {}", finding.guard, finding.state.detail())?;
        match (&finding.state, finding.remedy) {
            (State::Unknown(_), _) => writeln!(out, "  try it: sudo httpjail doctor")?,
            (_, Some(remedy)) => writeln!(out, "  mend it: {remedy}")?,
            (_, None) => {}
        }
    }
    Ok(())
}

fn print_json(kernel: &str, findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    let guards: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "guard": finding.guard,
                "state": finding.state.to_string(),
                "detail": finding.state.detail(),
                "mandatory": finding.mandatory,
                "since": finding.since,
                "holds": finding.holds,
                "remedy": finding.remedy,
            })
        })
        .collect();
    let report = json!({"version": env!("CARGO_PKG_VERSION"), "kernel": kernel, "guards": guards});
    writeln!(out, "{report:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(guard: &'static str, mandatory: bool, state: State) -> Finding {
        Finding {
            guard,
            holds: "packets",
            since: "5.19",
            mandatory,
            state,
            remedy: Some("a newer kernel"),
        }
    }

    #[test]
    fn says_what_is_missing_and_what_mends_it() {
        let findings = [
            finding("one", true, State::Holds("seen".to_owned())),
            finding("two", true, State::Missing("no such call".to_owned())),
            finding("three", false, State::Unknown("only root can try it")),
        ];
        let mut out = Vec::new();
        print_table("6.1.0", &findings, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (_, table) = text.split_once('\n').unwrap();
        insta::assert_snapshot!(table, @r"

        guard           state     since   what it holds back
        one             holds     5.19    packets
        two             missing   5.19    packets
        three           unknown   5.19    packets

        two (no jail without it): no such call
          mend it: a newer kernel

        three (jails do without): only root can try it
          try it: sudo httpjail doctor
        ");
    }

    #[test]
    fn json_has_every_guard() {
        let findings = [finding("one", true, State::Missing("no such call".to_owned()))];
        let mut out = Vec::new();
        print_json("6.1.0", &findings, &mut out).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(report["guards"][0]["state"], "missing");
        assert_eq!(report["guards"][0]["mandatory"], true);
        assert_eq!(report["kernel"], "6.1.0");
    }
}
