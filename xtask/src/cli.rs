//! The command line of `cargo xtask`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::bench::{BenchArgs, SoakArgs};
use crate::escape::EscapeArgs;
use crate::fuzz::FuzzArgs;
use crate::run::RunArgs;
use crate::setup::Purpose;
use crate::test::TestArgs;
use crate::{bench, check, docs, ebpf, escape, fuzz, macos, run, setup, test};

/// Builds, sets up, tests and measures httpjail.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building, testing or measuring needs and this machine lacks.
    Setup {
        /// What the machine shall be able to do.
        #[arg(long = "for", value_enum, default_value_t = Purpose::Test)]
        purpose: Purpose,
    },
    /// Build httpjail and run it: everything after `--` goes to httpjail.
    Run(RunArgs),
    /// Build everything and run all tests, kernel tests included.
    Test(TestArgs),
    /// Try every known way out of a jail, by the tests that the catalogue names.
    Escape(EscapeArgs),
    /// Throw made-up bytes at what reads hostile ones.
    Fuzz(FuzzArgs),
    /// Check formatting, lints of both sides, dependencies.
    Check,
    /// The programs in the kernel.
    #[command(subcommand)]
    Ebpf(EbpfCommand),
    /// Build the guide, an mdBook, into target/book.
    Docs,
    /// The program for macOS.
    #[command(subcommand)]
    Macos(MacosCommand),
    /// Measure start-up, requests per second, throughput and memory against squid, mitmproxy and no jail.
    Bench(BenchArgs),
    /// The part of `bench` that runs inside the namespaces made for it.
    #[command(hide = true)]
    BenchInside(BenchArgs),
    /// Put a mixed load on httpjail for an hour, and see whether anything grows, is lost or is left.
    Soak(SoakArgs),
    /// The part of `soak` that runs inside the namespaces made for it.
    #[command(hide = true)]
    SoakInside(SoakArgs),
}

#[derive(Subcommand)]
enum EbpfCommand {
    /// Build the committed object from source.
    Build,
    /// Rebuild the object and compare it to the committed one, byte by byte.
    Verify,
}

#[derive(Subcommand)]
enum MacosCommand {
    /// Lint the code for macOS, and link the program for both kinds of Mac.
    Check,
}

/// Parses the command line and carries it out.
pub(crate) fn main() -> ExitCode {
    match dispatch(Xtask::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Setup { purpose } => setup::ensure(purpose),
        Command::Run(args) => run::run(&args),
        Command::Test(args) => test::test(&args),
        Command::Escape(args) => escape::escape(&args),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Check => check::check(),
        Command::Ebpf(EbpfCommand::Build) => {
            setup::ensure(Purpose::Ebpf)?;
            ebpf::build()
        }
        Command::Ebpf(EbpfCommand::Verify) => {
            setup::ensure(Purpose::Ebpf)?;
            ebpf::verify()
        }
        Command::Docs => docs::build(),
        Command::Macos(MacosCommand::Check) => macos::check(),
        Command::Bench(args) => bench::bench(&args),
        Command::BenchInside(args) => bench::inside(&args),
        Command::Soak(args) => bench::soak(&args),
        Command::SoakInside(args) => bench::soak_inside(&args),
    }
}
