//! Files in PEM form, and what is wrong with them, said so that a person can mend it.

use std::{io, path::Path};

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It can't be read.
    #[error("{0}")]
    Read(io::Error),
    /// It is no PEM file, or one with other things in it.
    #[error("there is no {0} in it (PEM)")]
    Absent(&'static str),
    /// It was cut, or is not what it seems.
    #[error("a part of it isn't PEM as it should be")]
    Broken,
}

impl PemError {
    fn new(error: pem::Error, wanted: &'static str) -> Self {
        match error {
            pem::Error::Io(error) => Self::Read(error),
            pem::Error::NoItemsFound => Self::Absent(wanted),
            _ => Self::Broken,
        }
    }
}

/// All certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let failed = |error| PemError::new(error, "certificate");
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() { Err(PemError::Absent("certificate")) } else { Ok(found) }
}

/// The private key in a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let failed = |error| PemError::new(error, "private key without a passphrase");
    PrivateKeyDer::from_pem_file(path).map_err(failed)
}
