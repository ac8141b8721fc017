//! Connections of any kind.

pub(super) use crate::streams::{Boxed, Stream};
