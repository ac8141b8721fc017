//! What programs may become in a jail.

/// Whether a program that the command executes gains privileges by its owner or its capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privileges {
    /// None does (`no_new_privs`).
    #[default]
    Refused,
    /// Set-user-id programs do, within what the jail leaves to root.
    Gained,
}
