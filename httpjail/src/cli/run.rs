//! From the command line to the exit code.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::CommandFactory;
use clap_complete::Shell;

#[cfg(target_os = "macos")]
use super::keychain as trust;
#[cfg(target_os = "linux")]
use super::trust;
use super::{
    args::{Action, Cli},
    ca, doctor, exit, log,
    plan::{Plan, TestPlan},
    question::Decider,
    report::Report,
};
use crate::{
    policy::{Decision, DenyReason, Opaque, RequestFacts},
    session::{self, SessionError, Swept},
    tls::Kept,
};

/// Runs the program: reads the command line, does what it asks for, and tells how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::read(env::args_os()) {
        Ok(cli) => cli,
        Err(refusal) => return usage(&refusal),
    };
    log::start(verbosity(&cli));
    exit::code(match Plan::new(cli) {
        Ok(plan) => perform(plan),
        Err(error) => {
            complain(&Report::new(&error).with_hint(error.hint()));
            exit::USAGE
        }
    })
}

fn verbosity(cli: &Cli) -> u8 {
    match &cli.action {
        Some(
            Action::Cleanup { verbose, .. }
            | Action::Doctor { verbose, .. }
            | Action::Ca { verbose, .. }
            | Action::Trust { verbose, .. },
        ) => verbose.verbose,
        #[cfg(target_os = "macos")]
        Some(Action::Setup { verbose, .. }) => verbose.verbose,
        Some(Action::Completions { .. }) => 0,
        None => cli.run.verbose.verbose,
    }
}

fn perform(plan: Plan) -> u8 {
    match plan {
        Plan::Run(run) => session::run(*run).map_or_else(|error| failed(&error), exit::of_outcome),
        Plan::Weak(run) => {
            session::run_weak(*run).map_or_else(|error| failed(&error), exit::of_outcome)
        }
        Plan::Container(container) => {
            session::run_container(*container).map_or_else(|error| failed(&error), exit::of_outcome)
        }
        Plan::Server(server) => {
            session::run_server(*server).map_or_else(|error| failed(&error), exit::of_outcome)
        }
        Plan::Completions(shell) => printed(completions(shell, &mut io::stdout().lock())),
        Plan::Ca(form) => with_kept(|kept, out| ca::show(kept, form, out)),
        Plan::Trust(wish) => with_kept(|kept, out| trust::tell(kept, wish, out)),
        Plan::Cleanup { all } => session::cleanup(all).map_or_else(|e| failed(&e), swept),
        #[cfg(target_os = "macos")]
        Plan::Setup { user } => {
            session::setup(user.as_deref()).map_or_else(|error| failed(&error), set_up)
        }
        Plan::Doctor { json } => printed(doctor::run(json, &mut io::stdout().lock())),
        Plan::Test(plan) => test(*plan),
    }
}

/// Does something with the kept authority, which is made if it isn't there.
fn with_kept(tell: impl FnOnce(&Kept, &mut dyn Write) -> io::Result<u8>) -> u8 {
    match session::kept::open() {
        Ok(kept) => printed(tell(&kept, &mut io::stdout().lock())),
        Err(error) => failed(&error),
    }
}

/// The exit code of what prints its result.
fn printed(outcome: io::Result<u8>) -> u8 {
    outcome.unwrap_or_else(|error| {
        complain(&format_args!("httpjail: failed to print the answer: {error}"));
        exit::FAILED
    })
}

/// Prints what a shell needs to complete command lines: as text first, since clap takes a pipe that is
/// closed for a defect.
fn completions(shell: Shell, out: &mut impl Write) -> io::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "httpjail", &mut script);
    out.write_all(&script)?;
    Ok(exit::OK)
}

/// Asks the rule, and prints its answer as data: the verdict's line, then the message if any, then
/// what decided.
fn test(test: TestPlan) -> u8 {
    let TestPlan { lists, rules, facts, told } = test;
    let decider = Decider { listed: lists.find(&facts), rules: &rules }.to_string();
    let facts = Arc::new(facts);
    match session::decide(lists, rules, &facts, told.run()) {
        Ok(decision) => printed(answer(&facts, decision, &decider, &mut io::stdout().lock())),
        Err(error) => failed(&error),
    }
}

/// Prints a decision and the decider.
fn answer(
    facts: &RequestFacts,
    decision: Decision,
    decider: &str,
    out: &mut impl Write,
) -> io::Result<u8> {
    let code = tell(decision, facts, out)?;
    writeln!(out, "decided by {decider}")?;
    Ok(code)
}

/// Prints a decision, and gives the exit code that goes with it.
fn tell(decision: Decision, facts: &RequestFacts, out: &mut impl Write) -> io::Result<u8> {
    let RequestFacts { method, .. } = facts;
    let url = facts.url();
    match decision {
        Decision::Allow(limits) => {
            writeln!(out, "ALLOW {method} {url}")?;
            if limits.opaque == Opaque::Allowed {
                writeln!(out, "also for what isn't HTTP")?;
            }
            if let Some(bytes) = limits.max_tx_bytes {
                writeln!(out, "at most {bytes} bytes may be sent")?;
            }
            Ok(exit::OK)
        }
        Decision::Deny(denial) => {
            writeln!(out, "DENY {method} {url}")?;
            if denial.reason == DenyReason::NotForTcp {
                writeln!(out, "only {{allow: {{tcp: true}}}} opens what isn't HTTP")?;
            }
            if let Some(message) = denial.message {
                writeln!(out, "{message}")?;
            }
            Ok(exit::DENIED)
        }
    }
}

/// Says what a clean-up removed.
fn swept(swept: Swept) -> u8 {
    complain(&format_args!(
        "httpjail: removed {} dead runs and {} parents",
        swept.runs, swept.parents
    ));
    exit::OK
}

/// Says which account is there.
#[cfg(target_os = "macos")]
fn set_up((name, id): (String, u32)) -> u8 {
    complain(&format_args!("httpjail: jails can run as {name}, whose id is {id}"));
    exit::OK
}

fn failed(error: &SessionError) -> u8 {
    complain(&Report::new(error).with_hint(error.hint()));
    exit::of_error(error)
}

/// Prints clap's page or complaint; only the latter is a failure.
fn usage(refusal: &clap::Error) -> ExitCode {
    let printed = refusal.print();
    if refusal.use_stderr() {
        return exit::code(exit::USAGE);
    }
    exit::code(printed.map_or(exit::FAILED, |()| exit::OK))
}

/// Says something on standard error; when that is gone, the exit code still tells.
fn complain(message: &dyn std::fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{message}"));
}
