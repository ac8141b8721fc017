//! Whole files of `/proc`.

use std::{
    fs::File,
    io::{self, Read},
};

/// Larger than most such files. Their size is unknown before (stat(2) says 0), and a read that is
/// too small for all of it has the kernel make what comes next anew.
const USUAL: usize = 64 * 1024;

/// The bytes of a file of `/proc`.
///
/// # Errors
///
/// When it can't be read.
pub(crate) fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL);
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Such a file as text.
///
/// # Errors
///
/// When it can't be read, or isn't text.
pub(crate) fn read_to_string(path: &str) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
