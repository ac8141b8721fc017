//! The proxy: accepts what the kernel side redirects, reads HTTP, asks the gate, forwards.

mod bell;
mod body;
mod buffers;
mod canary;
mod closing;
mod coherence;
mod config;
mod connect;
mod connection;
mod ech;
mod flow;
mod forward;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod headers;
mod held;
mod hello;
mod hints;
pub(crate) mod http1;
mod http2;
mod intercept;
mod interim;
mod listener;
mod load;
mod opaque;
mod patience;
mod pinned;
mod programs;
mod refuse;
mod relay;
mod serve;
mod slots;
mod sniff;
mod staff;
mod stream;
mod turn;
mod unjudged;
mod websocket;
mod worker;

#[cfg(test)]
mod tests;

pub use crate::policy::SyntheticNames;
pub use canary::Canary;
pub use config::{ProxyConfig, ProxyError, TcpDns, Timeouts, default_workers};
pub use flow::{Aim, Flow, FlowTable};
pub use listener::run;
