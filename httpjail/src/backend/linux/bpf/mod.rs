//! The kernel side's programs and maps, by plain `bpf(2)`.
//!
//! `aya-obj` reads the object; loading goes round aya's loader, which parses the kernel's whole
//! BTF first (13 ms) although nothing here needs it (ADR 0002).

pub(super) mod attach;
pub(super) mod maps;
pub(super) mod object;
pub(super) mod sys;
