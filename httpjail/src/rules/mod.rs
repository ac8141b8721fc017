//! Rule engines.
