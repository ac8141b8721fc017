//! `httpjail ca`: the kept authority's certificate.

use std::io::{self, Write};

use super::{exit, plan::CaForm};
use crate::tls::Kept;

/// Prints the certificate, or where it is.
pub(super) fn show(kept: &Kept, form: CaForm, out: &mut dyn Write) -> io::Result<u8> {
    match form {
        CaForm::Path => writeln!(out, "{}", kept.certificate().display())?,
        CaForm::Pem => write!(out, "{}", kept.certificate_pem())?,
    }
    Ok(exit::OK)
}
