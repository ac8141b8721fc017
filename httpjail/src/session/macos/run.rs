//! One run, from nothing to nothing left.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, PipeWriter, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    os::unix::net::UnixStream,
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
    MacError, flows::PfFlows, folder::Folder, guard::Guard, keeper::Keeper, report::Report,
    rules_process,
};
use crate::{
    backend::{
        Privileges,
        macos::{
            canary::{Canary, WORD},
            process::{self, Fork},
        },
        user::{self, Identity, as_user},
    },
    cli::plan::{Lacking, RunPlan},
    dns,
    policy::{NoProcesses, RunFacts},
    proxy,
    record::LogFile,
    session::{
        Outcome, SessionError, doors,
        servers::{self, Servers},
        service::{Files, Place, Service},
        serving::{TcpStub, raise_descriptor_limit, serve_dns},
        way_out,
    },
    tls::{Authority, ChildTrust},
};

/// The discard service (RFC 863), on this machine: what failed to be turned would not leave it.
const DISCARD_PORT: u16 = 9;
/// Whom the proxy becomes when root called without sudo.
const NOBODY: &str = "nobody";

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
    tell_of_rule_file(&plan);
    let jailed = account(plan.user.as_deref())?;
    let owner = user::invoking_user()?;
    let serves_as = match &owner {
        Some(owner) => owner.clone(),
        None => Identity::named(OsStr::new(NOBODY))?,
    };
    let folder = Folder::take(&jailed)?;
    doors::announce(&plan, &[], false);
    let upstream = way_out::options(&plan.proxy.upstream, Some(&jailed))?;
    let open_log = |path| as_user(owner.as_ref(), || LogFile::open(path));
    let files = Files {
        log: plan.proxy.request_log.as_deref().map(open_log).transpose()?,
        records: plan.proxy.record.as_deref().map(open_log).transpose()?,
        step_summary: None,
    };
    let (rules, None) = rules_process::start(plan.proxy.rules.clone(), || Ok(None))?;
    let servers = Servers::bind(plan.published).map_err(SessionError::Proxy)?;
    let ports = servers.ports().map_err(SessionError::Proxy)?;
    let pf = Pf::open().map_err(MacError::Device)?;
    let authority = Authority::new()?;
    let trust = ChildTrust::prepare(folder.path(), |name| std::env::var_os(name))?;
    let variables = trust.variables().iter().cloned();
    let environment =
        user::child_environment(std::env::vars_os(), variables, Some(&jailed), &plan.environment);
    trust.fill(&authority.certificate_pem())?;
    let (word, targets) = canary(&ports).map_err(SessionError::Canary)?;
    let (own, keepers) = UnixStream::pair().map_err(SessionError::Proxy)?;
    process::hold_signals().map_err(SessionError::Signals)?;
    let jail = jail(&plan, &jailed, ports)?;
    let guard = Guard::arm(&jail, folder)?;

    let mut keeper = Keeper {
        command: plan.command.clone(),
        args: plan.args,
        environment,
        jailed,
        canary: Canary { targets: targets.clone(), word },
        timeout: plan.timeout,
        guard,
    };
    let pid = match process::fork().map_err(SessionError::Proxy)? {
        Fork::Child => {
            drop((own, servers, pf));
            keeper.keep(keepers)
        }
        Fork::Parent(pid) => pid,
    };
    drop(keepers);
    keeper.guard.leave();
    drop(keeper);
    let proxy = Jailed {
        servers,
        pf,
        authority,
        canary: proxy::Canary::new(&targets, &word),
        run_id: jail.id.to_string(),
        service: Service::new(plan.proxy, rules, upstream, files, jail.id.to_string()),
    };
    let link = own.try_clone().map_err(SessionError::Proxy)?;
    let served = process::become_user(&serves_as).and_then(|()| proxy.serve(own));
    if served.is_err() {
        // The keeper takes that for this process's end, and ends the jail.
        let _ = link.shutdown(Shutdown::Both);
    }
    // Its report comes after all is undone; one that is told nothing any more undoes all as well.
    process::reap(pid);
    let report = served.map_err(SessionError::Proxy)?.ok_or(MacError::KeeperDied)?;
    Ok(report.into_result(plan.command)?)
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
        None => rules_process::refuse(&plan.proxy.rules),
    }
}

/// Says that nobody looks at the rule's file any more.
fn tell_of_rule_file(plan: &RunPlan) {
    if let Some(path) = &plan.proxy.rule_file {
        let path = path.display();
        tracing::info!("changes of the rule file {path} won't be taken up: not yet on macOS");
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

/// Eight random hexadecimal digits.
fn fresh_id() -> io::Result<String> {
    Ok(format!("{:08x}", u32::from_ne_bytes(random()?)))
}

/// The word by which the command's process knows the proxy, and where it tries the jail.
fn canary(ports: &servers::Ports) -> io::Result<([u8; WORD], Vec<SocketAddr>)> {
    let mut targets = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DISCARD_PORT))];
    if ports.proxy_v6.is_some() {
        targets.push(SocketAddr::from((Ipv6Addr::LOCALHOST, DISCARD_PORT)));
    }
    Ok((random()?, targets))
}

fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What the process does from the fork on: it serves the jail.
struct Jailed {
    servers: Servers,
    pf: Pf,
    authority: Authority,
    canary: proxy::Canary,
    run_id: String,
    service: Service,
}

impl Jailed {
    /// Serves until the keeper reports. `None`: it was killed.
    fn serve(self, keeper: UnixStream) -> io::Result<Option<Report>> {
        raise_descriptor_limit();
        let service = self.service.start()?;
        let names = Arc::new(dns::Names::recorded(service.recorder().clone()));
        let stub = dns::Stub::new(Arc::clone(&names));
        serve_dns(stub.clone(), self.servers.dns)?;
        pass_signals(keeper.try_clone()?)?;
        let (stopped, stop) = io::pipe()?;
        let reported = hear(keeper, stop)?;
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
        };
        service.serve(place, stopped, Vec::new).map_err(io::Error::other)?;
        reported.join().map_err(|_| io::Error::other("the keeper's report was lost"))
    }
}

/// Tells the keeper of signals, on a thread of its own.
fn pass_signals(mut keeper: UnixStream) -> io::Result<()> {
    let pass = move || {
        while let Ok(signal) = process::next_signal() {
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
