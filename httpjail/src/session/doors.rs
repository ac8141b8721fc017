//! The options that open the jail: each says what it opens, in one line on standard error.

use std::path::PathBuf;

use httpjail_common::jail::Published;

use crate::{
    backend::Privileges,
    cli::plan::{ClientCert, PrivateRange, RunPlan},
    policy::{HostPattern, TcpTarget},
};

/// Says what the plan opens: `sockets` by the paths that were found. `is_root`: the command runs as
/// root.
pub(super) fn announce(plan: &RunPlan, sockets: &[PathBuf], is_root: bool) {
    let lines = [
        as_root(plan, is_root),
        private(&plan.proxy.upstream.allow_private),
        names(&plan.proxy.upstream.client_certs),
        ports(&plan.published),
        tcp(&plan.proxy.openings.tcp),
        passthrough(&plan.proxy.openings.passthrough),
        unix(sockets),
        privileges(plan.privileges),
    ];
    for line in lines.into_iter().flatten() {
        tracing::warn!("{line}");
    }
}

/// Why a command is told of the proxy.
const WEAK: &str = if cfg!(target_os = "macos") { "--weak, or no root" } else { "--weak" };

/// Says what `--weak`, and on macOS a run without root, doesn't do, and what the plan opens.
pub(super) fn announce_weak(plan: &RunPlan, is_root: bool) {
    tracing::warn!(
        "{WEAK}: programs are told of the proxy by their environment; nothing forces them to use it"
    );
    announce(plan, &[], is_root);
}

/// Says what the plan of a proxy that stands alone opens.
pub(super) fn announce_server(plan: &crate::cli::plan::ServerPlan) {
    let lines = [
        private(&plan.proxy.upstream.allow_private),
        names(&plan.proxy.upstream.client_certs),
        tcp(&plan.proxy.openings.tcp),
        passthrough(&plan.proxy.openings.passthrough),
    ];
    for line in lines.into_iter().flatten() {
        tracing::warn!("{line}");
    }
}

fn as_root(plan: &RunPlan, is_root: bool) -> Option<String> {
    let wished = plan.user.is_some() && is_root;
    wished.then(|| "--user opens: the command runs as root, who has more ways out".to_owned())
}

fn private(ranges: &[PrivateRange]) -> Option<String> {
    if ranges.is_empty() {
        return None;
    }
    let networks = ranges.iter().map(|range| match range {
        PrivateRange::All => None,
        PrivateRange::Net(network) => Some(network.to_string()),
    });
    let named = networks.collect::<Option<Vec<_>>>().map_or_else(
        || "all private, loopback and other special addresses".to_owned(),
        |networks| networks.join(", "),
    );
    Some(format!("--allow-private opens: allowed requests may go to {named}"))
}

fn names(certificates: &[ClientCert]) -> Option<String> {
    let hosts = certificates.iter().map(|given| given.hosts.to_string());
    let named = hosts.reduce(|all, hosts| all + ", " + &hosts)?;
    Some(format!(
        "--client-cert opens: allowed requests to {named} are made in the certificate's name"
    ))
}

fn ports(published: &Published) -> Option<String> {
    let ports = published.ports().map(|port| port.to_string());
    let named = ports.reduce(|all, port| all + ", " + &port)?;
    Some(format!(
        "--publish opens: programs on this machine can connect to the command at port {named}, which \
         tells them what it likes"
    ))
}

fn tcp(targets: &[TcpTarget]) -> Option<String> {
    let named = list(targets)?;
    Some(format!(
        "--allow-tcp opens: what the command says to {named} goes there unread, HTTP too, and no rule \
         is asked"
    ))
}

fn passthrough(hosts: &[HostPattern]) -> Option<String> {
    let named = list(hosts)?;
    Some(format!(
        "--passthrough opens: TLS to {named} goes there unread if the rule allows the server's name"
    ))
}

fn list(items: &[impl ToString]) -> Option<String> {
    items.iter().map(ToString::to_string).reduce(|all, item| all + ", " + &item)
}

fn unix(sockets: &[PathBuf]) -> Option<String> {
    if sockets.is_empty() {
        return None;
    }
    let named: Vec<_> = sockets.iter().map(|path| format!("{path:?}")).collect();
    let named = named.join(", ");
    Some(format!("--allow-unix opens: what serves at {named} can act for the command outside"))
}

fn privileges(privileges: Privileges) -> Option<String> {
    let opens = "--allow-new-privileges opens: set-user-id programs work; by sudo the command can \
                 become root, by at or crontab start programs outside the jail";
    match privileges {
        Privileges::Refused => None,
        Privileges::Gained => Some(opens.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_sockets() {
        assert_eq!(unix(&[]), None);
        assert_eq!(
            unix(&["/run/a b".into(), "/run/c\n".into()]).unwrap(),
            r#"--allow-unix opens: what serves at "/run/a b", "/run/c\n" can act for the command outside"#
        );
    }

    #[test]
    fn names_what_goes_unread() {
        assert_eq!((tcp(&[]), passthrough(&[])), (None, None));
        assert_eq!(
            tcp(&["git.test:22", "*.db.test:*"].map(|target| target.parse().unwrap())).unwrap(),
            "--allow-tcp opens: what the command says to git.test:22, *.db.test:* goes there unread, \
             HTTP too, and no rule is asked"
        );
        assert_eq!(
            passthrough(&["*.bank.test".parse().unwrap()]).unwrap(),
            "--passthrough opens: TLS to *.bank.test goes there unread if the rule allows the \
             server's name"
        );
    }

    #[test]
    fn names_the_hosts_that_are_shown_a_certificate() {
        let given = |text: &str| text.parse::<ClientCert>().unwrap();
        assert_eq!(names(&[]), None);
        assert_eq!(
            names(&[given("a.test=c,k"), given("*.b.test=c,k")]).unwrap(),
            "--client-cert opens: allowed requests to a.test, *.b.test are made in the certificate's \
             name"
        );
    }

    #[test]
    fn names_the_private_ranges() {
        let said = |ranges: &[&str]| {
            let ranges: Vec<_> = ranges.iter().map(|range| range.parse().unwrap()).collect();
            private(&ranges)
        };
        assert_eq!(said(&[]), None);
        let opens = "--allow-private opens: allowed requests may go to";
        let all = format!("{opens} all private, loopback and other special addresses");
        assert_eq!(said(&["10.0.0.0/8", "::1"]), Some(format!("{opens} 10.0.0.0/8, ::1/128")));
        assert_eq!(said(&["all"]), Some(all.clone()));
        assert_eq!(said(&["10.0.0.0/8", "all"]), Some(all));
    }
}
