//! The first process and its keeper: the one serves, the other keeps the command, and each notices the
//! other's end.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
};

use super::{MacError, keeper::Keeper, report::Report, rules_process::RulesProcess};
use crate::{
    backend::{
        macos::process::{self, Fork, Held},
        user::Identity,
    },
    session::{Outcome, SessionError, service::ServiceError},
};

/// Forks the keeper, becomes `serves_as` for good, and serves until the keeper has reported that all is
/// undone. `serve` is given what closes then, and holds all that the keeper must not.
///
/// Must be called while this process has one thread, with the signals held.
///
/// # Errors
///
/// When the command can't be run, or not be kept or served any more; it has ended then.
pub(super) fn run(
    keeper: Keeper,
    serves_as: Option<&Identity>,
    rules: Option<RulesProcess>,
    serve: impl FnOnce(PipeReader) -> Result<(), ServiceError>,
) -> Result<Outcome, SessionError> {
    let command = keeper.command.clone();
    let (own, keepers) = UnixStream::pair().map_err(SessionError::Proxy)?;
    let link = own.try_clone().map_err(SessionError::Proxy)?;
    let pid = match process::fork().map_err(SessionError::Proxy)? {
        Fork::Child => {
            drop((own, link, serve, rules.map(RulesProcess::leave)));
            keeper.keep(keepers)
        }
        Fork::Parent(pid) => pid,
    };
    drop(keepers);
    keeper.leave();
    // The keeper takes that for this process's end, and ends the command.
    let cut = {
        let link = link.try_clone().map_err(SessionError::Proxy)?;
        move || drop(link.shutdown(Shutdown::Both))
    };
    let served = (|| {
        process::forgo_core_dumps()?;
        serves_as.map_or(Ok(()), process::become_user)?;
        let died = rules.as_ref().map(|rules| rules.when_it_dies(cut)).transpose()?;
        pass_signals(own.try_clone()?)?;
        let (stopped, stop) = io::pipe()?;
        let reported = hear(own, stop)?;
        serve(stopped).map_err(io::Error::other)?;
        let report = reported.join().map_err(|_| io::Error::other("the report was lost"))?;
        Ok((report, died.is_some_and(|died| died.get())))
    })();
    if served.is_err() {
        drop(link.shutdown(Shutdown::Both));
    }
    // Its report comes after all is undone; one that is told nothing any more undoes all as well.
    process::reap(pid);
    if let Some(rules) = rules {
        rules.stop();
    }
    match served.map_err(SessionError::Proxy)? {
        (Some(report), _) => Ok(report.into_result(command)?),
        (None, true) => Err(SessionError::RulesDied),
        (None, false) => Err(MacError::KeeperDied.into()),
    }
}

/// Tells the keeper of signals, on a thread of its own.
fn pass_signals(mut keeper: UnixStream) -> io::Result<()> {
    let pass = move || {
        while let Ok(signal) = process::next_signal(Held::WithCommand) {
            let byte = u8::try_from(signal).unwrap_or_default();
            if keeper.write_all(&[byte]).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(pass).map(drop)
}

/// Waits for the report on a thread of its own; `stop` closes when it is there.
fn hear(
    mut keeper: UnixStream,
    stop: PipeWriter,
) -> io::Result<thread::JoinHandle<Option<Report>>> {
    let wait = move || {
        let mut report = [0; 2];
        let heard = keeper.read_exact(&mut report);
        drop(stop);
        heard.ok().and_then(|()| Report::decode(report))
    };
    thread::Builder::new().name("keeper".to_owned()).spawn(wait)
}
