//! What can be asked for instead of a run.

#[cfg(target_os = "macos")]
use std::ffi::OsString;

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::Verbose;

/// What can be asked for instead of a run.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Action {
    /// Remove what dead runs left behind
    Cleanup {
        /// Also remove what stays between runs, when no jail lives
        #[arg(long)]
        all: bool,

        #[command(flatten)]
        verbose: Verbose,
    },
    /// Make an account that jailed commands run as
    #[cfg(target_os = "macos")]
    Setup {
        /// Its name: _httpjail, or that with letters or digits behind it
        #[arg(long, value_name = "NAME")]
        user: Option<OsString>,

        #[command(flatten)]
        verbose: Verbose,
    },
    /// Try every guard that a jail needs, and say what is missing on this host
    Doctor {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        verbose: Verbose,
    },
    /// Show the certificate that programs must trust which use the proxy of --server
    Ca {
        #[command(flatten)]
        form: CaForm,

        #[command(flatten)]
        verbose: Verbose,
    },
    /// Print what a shell needs to complete the command line
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Tell whether this system trusts that certificate, and how it comes to
    Trust {
        #[command(flatten)]
        wanted: Wanted,

        #[command(flatten)]
        verbose: Verbose,
    },
}

/// Which of the forms of the authority's certificate.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(in crate::cli) struct CaForm {
    /// Print where its file is; this is what is done without an option
    #[arg(long)]
    pub(in crate::cli) path: bool,

    /// Print it (PEM)
    #[arg(long)]
    pub(in crate::cli) print: bool,
}

/// What the system's trust should become.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(in crate::cli) struct Wanted {
    /// Say how this system comes to trust it
    #[cfg_attr(target_os = "macos", arg(help = "Let this user trust it; the system asks"))]
    #[arg(long)]
    pub(in crate::cli) install: bool,

    /// Say how this system ceases to trust it
    #[cfg_attr(target_os = "macos", arg(help = "Remove it from this user's keychain"))]
    #[arg(long)]
    pub(in crate::cli) remove: bool,
}
