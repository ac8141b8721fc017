//! Compares what a purpose needs with what is there, and closes the gap.

use anyhow::{Result, bail};

use super::install;
use super::needs::{Need, Purpose, Remedy};

/// Makes sure that this machine can do what `purpose` asks for.
///
/// Nothing is asked of any package manager when nothing is missing, which takes milliseconds.
///
/// # Errors
/// Says what is missing and how to get it when it can't be installed from here.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose);
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("setup: installing {}", names(&missing));
    install::packages(&packages(&missing))?;
    for need in &missing {
        match need.remedy {
            Remedy::Crate(program) => install::program(program)?,
            Remedy::Component(name) => install::component(name)?,
            Remedy::Python(package, version) => install::python(package, version)?,
            Remedy::PythonProgram(name, version) => install::python_program(name, version)?,
            Remedy::Debian(_) => {}
        }
    }

    let still = self::missing(purpose);
    if still.is_empty() {
        return Ok(());
    }
    bail!("still missing after the installation: {}", names(&still))
}

fn missing(purpose: Purpose) -> Vec<Need> {
    purpose.needs().into_iter().filter(|need| !need.is_met()).collect()
}

fn names(needs: &[Need]) -> String {
    needs.iter().map(Need::name).collect::<Vec<_>>().join(", ")
}

fn packages(needs: &[Need]) -> Vec<&'static str> {
    needs
        .iter()
        .filter_map(|need| match need.remedy {
            Remedy::Debian(package) => Some(package),
            Remedy::Crate(_)
            | Remedy::Component(_)
            | Remedy::Python(..)
            | Remedy::PythonProgram(..) => None,
        })
        .collect()
}
