//! Out of other programs' sight.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Keeps other programs of the same user from looking into this process (P12): what it holds of the
/// proxy would let them take part in it.
pub(super) fn hide() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
