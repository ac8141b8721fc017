//! The manual page, docs/man/httpjail.1, which is made of what the command line says of itself.
//!
//! It is made by its test: `INSTA_UPDATE=always cargo nextest run -p httpjail man::` writes it anew.

use std::{fs, path::Path};

use clap::CommandFactory;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::args::{AFTER_HELP, Cli, USAGE};

/// Where it stands.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/man/httpjail.1");

/// What the page of `--help` doesn't say.
const FILES: [(&str, &str); 3] = [
    ("/run/httpjail", "What is known of the runs that live. A run's folder goes with it."),
    (
        "~/.config/httpjail",
        "The certificate and the key of the authority that --server uses; XDG_CONFIG_HOME moves it.",
    ),
    (
        "/sys/fs/cgroup/…/httpjail-*",
        "The cgroup that carries the programs, and below it the jails.",
    ),
];

const ENVIRONMENT: [(&str, &str); 5] = [
    (
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
        "The proxies that allowed requests go through.",
    ),
    ("HTTPJAIL_HTTP_BIND, HTTPJAIL_HTTPS_BIND", "Where --server and --weak listen."),
    ("RUST_LOG", "What is said on standard error, in place of -v."),
    ("NO_COLOR", "If it isn't empty, no colours."),
    ("GITHUB_STEP_SUMMARY", "The file that --summary is written to as well."),
];

fn page() -> String {
    let command = Cli::command().term_width(100);
    let man = Man::new(command.clone()).date("").manual("User Commands");
    let mut page = Vec::new();
    let written = man
        .render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| synopsis().to_writer(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| actions(&command).to_writer(&mut page))
        .and_then(|()| man.render_options_section(&mut page))
        .and_then(|()| more().to_writer(&mut page));
    written.expect("memory can be written to");
    String::from_utf8(page).expect("text")
}

fn synopsis() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).control("nf", []);
    for line in USAGE.lines() {
        roff.text([roman(line.trim())]);
    }
    roff.control("fi", []);
    roff
}

/// What can be asked for instead of a run.
fn actions(command: &clap::Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for action in command.get_subcommands() {
        let about = action.get_about().map(ToString::to_string).unwrap_or_default();
        roff.control("TP", []).text([bold(action.get_name())]).text([roman(about)]);
        for option in action.get_arguments().filter(|it| it.get_long() != Some("verbose")) {
            let name = option.get_long().map_or_else(
                || option.get_id().as_str().to_uppercase(),
                |long| format!("--{long}"),
            );
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            roff.control("br", []).text([bold(name), roman(": "), roman(help)]);
        }
    }
    roff
}

/// The sections of the page of help, and what it doesn't say.
fn more() -> Roff {
    let mut roff = Roff::new();
    for section in AFTER_HELP.split("\n\n").fold(Vec::<String>::new(), sections) {
        let (title, text) = section.split_once(":\n").expect("a section has a title");
        roff.control("SH", [&*title.to_uppercase()]).control("nf", []);
        for line in text.lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
    for (title, entries) in [("ENVIRONMENT", &ENVIRONMENT[..]), ("FILES", &FILES)] {
        roff.control("SH", [title]);
        for (name, text) in entries {
            roff.control("TP", []).text([bold(*name)]).text([roman(*text)]);
        }
    }
    roff
}

/// Paragraphs of one section belong together: the first of each begins at the margin.
fn sections(mut sections: Vec<String>, paragraph: &str) -> Vec<String> {
    match sections.last_mut() {
        Some(section) if paragraph.starts_with(' ') => section.extend(["\n\n", paragraph]),
        _ => sections.push(paragraph.to_owned()),
    }
    sections
}

#[test]
fn the_committed_page_is_what_the_program_says() {
    if std::env::var("INSTA_UPDATE").is_ok_and(|wish| wish == "always") {
        fs::create_dir_all(Path::new(PAGE).parent().expect("a folder")).expect("ours");
        fs::write(PAGE, page()).expect("ours");
    }
    let committed = fs::read_to_string(PAGE).unwrap_or_default();
    let remedy = "INSTA_UPDATE=always cargo nextest run -p httpjail man::";
    assert!(committed == page(), "docs/man/httpjail.1 isn't what the program says: {remedy}");
}
