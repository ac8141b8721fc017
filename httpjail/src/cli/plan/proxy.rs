//! What a proxy does, whatever the mode that it serves in.

use std::{mem, num::NonZeroUsize, path::PathBuf};

use super::{ClientCert, PlanError, PrivateRange, Resolve};
use crate::{
    cli::{
        args::RunArgs,
        upstream_proxy::{self, UpstreamProxy},
    },
    policy::{Lists, Openings},
    record::Urls,
    rules::Rules,
    upstream::Proxies,
};

/// What decides, where it is written down, and the way out.
#[derive(Clone, Debug)]
pub struct ProxyPlan {
    /// What decides before the rule is asked.
    pub lists: Lists,
    /// What decides.
    pub rules: Rules,
    /// The file that the rule is from, if it is from one.
    pub rule_file: Option<PathBuf>,
    /// Where the request log goes.
    pub request_log: Option<PathBuf>,
    /// Where the records go.
    pub record: Option<PathBuf>,
    /// How much of URLs is written to both.
    pub urls: Urls,
    /// Whether the end is told.
    pub summary: Summary,
    /// How the proxy reaches origins.
    pub upstream: UpstreamPlan,
    /// What goes out without being read as HTTP.
    pub openings: Openings,
    /// How many threads the proxy has, if the user says so.
    pub workers: Option<NonZeroUsize>,
}

/// Whether a run is summed up at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// It isn't.
    None,
    /// On standard error, and on the page of the job where there is one.
    Told,
}

/// How the proxy reaches origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamPlan {
    /// Addresses that stand for names.
    pub resolve: Vec<Resolve>,
    /// Files of certificates to trust besides the system's.
    pub extra_ca: Vec<PathBuf>,
    /// Certificates that some origins are shown.
    pub client_certs: Vec<ClientCert>,
    /// Proxies on the way.
    pub proxies: Proxies,
    /// Special addresses that may be dialled.
    pub allow_private: Vec<PrivateRange>,
}

impl ProxyPlan {
    /// Takes out of `run` what is about the proxy.
    pub(super) fn new(run: &mut RunArgs, rules: Rules) -> Result<Self, PlanError> {
        Ok(Self {
            lists: Lists { allow: mem::take(&mut run.allow), deny: mem::take(&mut run.deny) },
            rules,
            rule_file: run.js_file.take(),
            request_log: run.request_log.take(),
            record: run.record.take(),
            urls: if run.log_full_urls { Urls::Full } else { Urls::Redacted },
            summary: if run.summary { Summary::Told } else { Summary::None },
            upstream: UpstreamPlan {
                resolve: mem::take(&mut run.resolve),
                extra_ca: mem::take(&mut run.upstream_ca),
                client_certs: mem::take(&mut run.client_cert),
                proxies: proxies(run.upstream_proxy.take())?,
                allow_private: mem::take(&mut run.allow_private),
            },
            openings: Openings {
                tcp: mem::take(&mut run.allow_tcp),
                passthrough: mem::take(&mut run.passthrough),
            },
            workers: run.workers,
        })
    }
}

/// Those on the way: the one that was given, or the environment's.
fn proxies(given: Option<UpstreamProxy>) -> Result<Proxies, PlanError> {
    Ok(upstream_proxy::proxies(given, |name| std::env::var_os(name))?)
}
