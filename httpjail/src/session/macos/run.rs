//! One run, from nothing to nothing left.

use std::{
    ffi::OsStr,
    io::{self, PipeReader},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use httpjail_macos::{
    accounts,
    anchor::{Id, Jail, Ports},
    natlook::Pf,
};

use super::{
    MacError, beside, files,
    flows::PfFlows,
    folder::Folder,
    guard::Guard,
    keeper::{Hold, Keeper},
    rules_process,
};
use crate::{
    backend::{
        Privileges,
        macos::{
            canary::{Canary, WORD},
            process::{self, Held},
        },
        user::{self, Identity},
    },
    cli::plan::{Lacking, RunPlan},
    dns,
    policy::{NoProcesses, RunFacts},
    proxy,
    rules::{Js, Reload},
    session::{
        Outcome, SessionError, doors,
        fresh::{fresh_id, random},
        rule_files,
        rule_watch::RuleWatch,
        servers::{self, Servers},
        service::{Place, Service, ServiceError},
        serving::{TcpStub, raise_descriptor_limit, serve_dns},
        way_out,
    },
    tls::{Authority, ChildTrust},
};

/// The discard service (RFC 863), on this machine: what failed to be turned would not leave it.
const DISCARD_PORT: u16 = 9;
/// Whom the proxy becomes when root called without sudo.
const NOBODY: &str = "nobody";

/// Whom a proxy that was started as root becomes: the user who called, or nobody.
///
/// # Errors
///
/// When the user can't be told.
pub(super) fn unprivileged(owner: Option<&Identity>) -> Result<Identity, SessionError> {
    Ok(owner.cloned().map_or_else(|| Identity::named(OsStr::new(NOBODY)), Ok)?)
}

/// Runs the plan's command in a jail of its own.
///
/// # Errors
///
/// When the jail can't be put up (the command has not run then), or can't be kept any more.
pub fn run(plan: RunPlan) -> Result<Outcome, SessionError> {
    if !rustix::process::geteuid().is_root() {
        return Err(SessionError::NotRoot);
    }
    refuse_unsupported(&plan)?;
    let jailed = account(plan.user.as_deref())?;
    let owner = user::invoking_user()?;
    let serves_as = unprivileged(owner.as_ref())?;
    rule_files::tell_of_changeable(&plan.proxy.rules, Some(&jailed), plan.lacking)?;
    let folder = Folder::take(&jailed)?;
    doors::announce(&plan, &[], false);
    let upstream = way_out::options(&plan.proxy.upstream, Some(&jailed))?;
    let files = files::open_all(&plan.proxy, owner.as_ref())?;
    let servers = Servers::bind(plan.published).map_err(SessionError::Proxy)?;
    let ports = servers.ports().map_err(SessionError::Proxy)?;
    let pf = Pf::open().map_err(MacError::Device)?;
    process::hold_signals(Held::WithCommand).map_err(SessionError::Signals)?;
    // Before there is a key: it must not be in the memory of a process that others may look into.
    let (rules, rules_process) = rules_process::start(plan.proxy.rules.clone(), || Ok(None))?;
    let authority = Authority::new()?;
    let trust = ChildTrust::prepare(folder.path(), |name| std::env::var_os(name))?;
    let variables = trust.variables().iter().cloned();
    let environment =
        user::child_environment(std::env::vars_os(), variables, Some(&jailed), &plan.environment);
    trust.fill(&authority.certificate_pem())?;
    let (word, targets) = canary(&ports).map_err(SessionError::Canary)?;
    let jail = jail(&plan, &jailed, ports)?;
    let rule_file = plan.proxy.rule_file.clone();
    let rule_file = rule_file.map(|path| RuleFile { path, jailed: jailed.clone() });
    let guard = Guard::arm(&jail, folder)?;

    let keeper = Keeper {
        command: plan.command,
        args: plan.args,
        environment,
        timeout: plan.timeout,
        hold: Hold::Jail {
            account: jailed,
            canary: Canary { targets: targets.clone(), word },
            guard,
        },
    };
    let proxy = Jailed {
        servers,
        pf,
        authority,
        canary: proxy::Canary::new(&targets, &word),
        run_id: jail.id.to_string(),
        rule_file,
        service: Service::new(plan.proxy, rules, upstream, files, jail.id.to_string()),
    };
    beside::run(keeper, Some(&serves_as), rules_process, |stopped| proxy.serve(stopped))
}

/// Options that ask for what pf can't do must not seem to be followed.
fn refuse_unsupported(plan: &RunPlan) -> Result<(), SessionError> {
    let asked = [
        ("--allow-unix", !plan.allow_unix.is_empty()),
        ("--allow-new-privileges", plan.privileges == Privileges::Gained),
        ("--strict", plan.lacking == Lacking::Refuse),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((option, _)) => Err(MacError::Unsupported(option).into()),
        None => Ok(()),
    }
}

/// The account that the command runs as.
fn account(user: Option<&OsStr>) -> Result<Identity, SessionError> {
    let user = user.unwrap_or(OsStr::new(accounts::DEFAULT));
    let account = Identity::named(user).map_err(MacError::NoAccount)?;
    let name = account.name().to_string_lossy();
    if account.uid() == 0 || !accounts::is_for_jails(&name) {
        return Err(MacError::Account(name.into_owned()).into());
    }
    Ok(account)
}

fn jail(plan: &RunPlan, jailed: &Identity, ports: servers::Ports) -> Result<Jail, SessionError> {
    let id = Id::new(&fresh_id().map_err(SessionError::Canary)?);
    let both = |(proxy, dns)| Ports { proxy, dns };
    Ok(Jail {
        id: id.expect("hexadecimal digits are plain"),
        uid: jailed.uid(),
        v4: both((ports.proxy_v4, ports.dns_v4)),
        v6: ports.proxy_v6.zip(ports.dns_v6).map(both),
        published: plan.published.ports().collect(),
    })
}

/// The word by which the command's process knows the proxy, and where it tries the jail.
fn canary(ports: &servers::Ports) -> io::Result<([u8; WORD], Vec<SocketAddr>)> {
    let mut targets = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DISCARD_PORT))];
    if ports.proxy_v6.is_some() {
        targets.push(SocketAddr::from((Ipv6Addr::LOCALHOST, DISCARD_PORT)));
    }
    Ok((random()?, targets))
}

/// What the process does from the fork on: it serves the jail.
struct Jailed {
    servers: Servers,
    pf: Pf,
    authority: Authority,
    canary: proxy::Canary,
    run_id: String,
    rule_file: Option<RuleFile>,
    service: Service,
}

impl Jailed {
    /// Serves until `stopped` closes.
    fn serve(self, stopped: PipeReader) -> Result<(), ServiceError> {
        raise_descriptor_limit();
        if let Some((rule, file)) = self.service.rules.javascript().zip(self.rule_file) {
            file.take_up(rule)?;
        }
        let service = self.service.start()?;
        let names = Arc::new(dns::Names::recorded(service.recorder().clone()));
        let stub = dns::Stub::new(Arc::clone(&names));
        serve_dns(stub.clone(), self.servers.dns)?;
        let place = Place {
            listeners: self.servers.proxy,
            flows: Arc::new(PfFlows(self.pf)),
            canary: self.canary,
            names,
            dns_tcp: Arc::new(TcpStub(stub)),
            authority: Arc::new(self.authority),
            inspector: Arc::new(NoProcesses),
            // pf tells nothing of processes, so no rule is given one: `r.process` is null.
            run: RunFacts { jail: Some(self.run_id), processes: Arc::new(NoProcesses) },
            drain: Duration::ZERO,
            shut: None,
        };
        service.serve(place, stopped, Vec::new)
    }
}

/// The file of the rule.
struct RuleFile {
    path: PathBuf,
    jailed: Identity,
}

impl RuleFile {
    /// Reads the rule anew when its file changes, on a thread of its own, if the command can't write
    /// it. (What watches is made here and not before, as a kqueue doesn't outlive a fork.)
    fn take_up(self, rule: Js) -> io::Result<()> {
        let watch = RuleWatch::start(&self.path, Some(&self.jailed), Lacking::Warn);
        let Some(mut watch) = watch.map_err(io::Error::other)? else { return Ok(()) };
        let mut reload = Reload::new(rule, self.path);
        let wait = move || {
            loop {
                if let Some(file) = watch.changed() {
                    reload.read(file);
                }
                if let Err(error) = watch.wait() {
                    return tracing::error!(%error, "changes of the rule won't be taken up any more");
                }
            }
        };
        thread::Builder::new().name("rule file".to_owned()).spawn(wait).map(drop)
    }
}
