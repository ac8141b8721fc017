//! The `httpjail` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    httpjail::cli::main()
}
