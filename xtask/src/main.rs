//! Builds, sets up, tests and measures httpjail: `cargo xtask <COMMAND>`.
//!
//! It compiles with stable Rust and a C linker alone, and fetches everything else that a command
//! turns out to need.

use std::process::ExitCode;

mod bench;
mod check;
mod cli;
mod docs;
mod ebpf;
mod escape;
mod fuzz;
mod layers;
mod macos;
#[cfg(test)]
mod peer;
mod run;
mod setup;
mod test;
#[cfg(test)]
mod test_names;
mod tools;

fn main() -> ExitCode {
    cli::main()
}
