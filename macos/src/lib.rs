//! What httpjail needs of macOS: pf's rules and look-ups, the accounts that commands run as, whose
//! sockets and processes are, and the keychain.
//!
//! It is written so that all of it builds and is tested on any Unix: texts and command lines come
//! from pure functions, and only [`pfctl`] and [`natlook`] touch the system. **Nothing of it has run
//! on a Mac yet**; `TESTING.md` beside the source says what to run there.

#![deny(unsafe_code)]

pub mod accounts;
pub mod anchor;
pub mod keychain;
#[expect(unsafe_code, reason = "an ioctl is made by a raw call")]
pub mod natlook;
pub mod pfctl;
pub mod processes;
pub mod sockets;
pub mod state;
