//! `--weak`, and what is done without root: a command that is told of the proxy by its environment, and
//! asked for no more.
//!
//! ```text
//! httpjail             plans, binds, forks
//! ├── the keeper           starts the command, waits, ends what came from it
//! │   └── the command          as the caller, or whom root names
//! ├── the rule's program   if it is one, as the user who called
//! └── itself, from then on, the proxy: as the user who called, with no rights of root's
//! ```

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustix::process::geteuid;

use super::{
    beside,
    clients::Clients,
    files,
    keeper::{Hold, Keeper},
    rules_process,
    run::unprivileged,
};
use crate::{
    backend::{
        macos::process::{self, Held},
        user::{self, Identity},
    },
    cli::plan::RunPlan,
    dns,
    policy::{NoProcesses, RunFacts},
    proxy,
    session::{
        Outcome, SessionError, doors,
        service::{NoDns, Place, Service},
        serving::raise_descriptor_limit,
        told::{environment, folder::Folder, places},
        way_out,
    },
    tls::{Authority, ChildTrust},
};

/// A folder for temporary files that any user can read; the one that is usual is its user's alone.
const OPEN_TO_ALL: &str = "/tmp";

/// Runs the plan's command with the proxy in its environment.
///
/// # Errors
///
/// When the proxy can't be put up (the command has not run then) or has ended before the command, or
/// when something that the command started can't be ended.
pub fn run_weak(plan: RunPlan) -> Result<Outcome, SessionError> {
    process::hide().map_err(SessionError::Proxy)?;
    let is_root = geteuid().is_root();
    let user = user::of_command(plan.user.as_deref())?;
    let owner = user::invoking_user()?;
    let serves_as = if is_root { Some(unprivileged(owner.as_ref())?) } else { None };
    doors::announce_weak(&plan, user.is_none() && is_root);
    let upstream = way_out::options(&plan.proxy.upstream, user.as_ref())?;
    let files = files::open_all(&plan.proxy, owner.as_ref())?;
    let place = if is_root { PathBuf::from(OPEN_TO_ALL) } else { std::env::temp_dir() };
    let folder = Folder::create(&place).map_err(SessionError::Folder)?;
    let (listeners, places) = places::of_command(plan.binds)?;
    let uid = user.as_ref().map_or(geteuid().as_raw(), Identity::uid);
    let clients = Clients::of(uid).map_err(SessionError::Clients)?;
    process::hold_signals(Held::WithCommand).map_err(SessionError::Signals)?;
    // Before there is a key: it must be in no process that doesn't need it.
    let (rules, rules_process) = rules_process::start(plan.proxy.rules.clone(), || Ok(None))?;
    let authority = Authority::new()?;
    let look_up = |name: &str| std::env::var_os(name);
    let trust = ChildTrust::prepare(folder.path(), look_up)?;
    let variables = environment::told(places, trust.variables(), look_up);
    let environment =
        user::told_environment(std::env::vars_os(), variables, user.as_ref(), &plan.environment);
    trust.fill(&authority.certificate_pem())?;
    let keeper = Keeper {
        command: plan.command,
        args: plan.args,
        environment,
        timeout: plan.timeout,
        hold: Hold::Told { user, folder },
    };
    let jail = format!("weak-{}", std::process::id());
    let service = Service::new(plan.proxy, rules, upstream, files, jail);
    let place = Place {
        listeners,
        flows: Arc::new(clients),
        canary: proxy::Canary::default(),
        names: Arc::new(dns::Names::new()),
        dns_tcp: Arc::new(NoDns),
        authority: Arc::new(authority),
        inspector: Arc::new(NoProcesses),
        // Nobody tells which process has connected.
        run: RunFacts::default(),
        drain: Duration::ZERO,
        shut: None,
    };
    beside::run(keeper, serves_as.as_ref(), rules_process, |stopped| {
        raise_descriptor_limit();
        service.start()?.serve(place, stopped, Vec::new)
    })
}
