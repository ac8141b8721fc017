//! placeholder
use anyhow::{Result, bail};

/// Builds the eBPF object.
pub(crate) fn build() -> Result<()> {
    bail!("not here yet")
}

/// Rebuilds the eBPF object and compares it to the committed one.
pub(crate) fn verify() -> Result<()> {
    bail!("not here yet")
}
