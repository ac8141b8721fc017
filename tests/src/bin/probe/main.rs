//! Does one network act and prints what came of it as one line of JSON.
//!
//! The suites run it outside a jail, where the act must get out, and inside, where it must not.

use std::process::ExitCode;

use httpjail_tests::act::{Outcome, Refusal};
use serde_json::Value;

mod arguments;
mod datagram;
mod escape;
mod grpc;
mod hello;
mod inspect;
mod launch;
mod local;
mod raw;
mod stream;
mod uring;

use arguments::Arguments;

type Act = fn(&Arguments) -> Result<Value, Refusal>;

/// Every act by its name on the command line.
const ACTS: [(&str, Act); 36] = [
    ("tcp", stream::tcp),
    ("mptcp", stream::mptcp),
    ("fast-open", stream::fast_open),
    ("routing-header", stream::routing_header),
    ("udp-connect", datagram::connect),
    ("udp-send-to", datagram::send_to),
    ("udp-connected-send-to", datagram::connected_send_to),
    ("udp-unspecified-family", datagram::unspecified_family),
    ("udp-packet-info", datagram::packet_info),
    ("udp-multicast", datagram::multicast),
    ("udplite", datagram::udplite),
    ("ping", raw::ping),
    ("raw", raw::raw),
    ("packet", raw::packet),
    ("io-uring", uring::connect),
    ("hello", hello::request),
    ("grpc", grpc::converse),
    ("listen", local::listen),
    ("listen-udp", local::listen_udp),
    ("pair", local::pair),
    ("pair-udp", local::pair_udp),
    ("echo", local::echo),
    ("descriptors", inspect::descriptors),
    ("identity", inspect::identity),
    ("hang", inspect::hang),
    ("source-route", escape::source_route),
    ("source-route-control", escape::source_route_control),
    ("udp-reconnect", escape::udp_reconnect),
    ("tcp-reconnect", escape::tcp_reconnect),
    ("option", escape::option),
    ("open", escape::open),
    ("open-read", escape::open_read),
    ("type", escape::type_in),
    ("clone-into", escape::clone_into),
    ("bpf", escape::bpf),
    ("foreign-socket", escape::foreign_socket),
];

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let name = words.next().unwrap_or_default().to_string_lossy().into_owned();
    if let "run-in" | "seclude" | "holding" | "without" = name.as_str() {
        let failure = launch::run(&name, words.collect());
        eprintln!("probe {name}: {failure:#}");
        return ExitCode::from(125);
    }
    let Some((_, act)) = ACTS.iter().find(|(act, _)| *act == name) else {
        let names: Vec<_> = ACTS.iter().map(|(name, _)| *name).collect();
        eprintln!(
            "probe: no act {name:?}; there are: run-in seclude holding without {}",
            names.join(" ")
        );
        return ExitCode::from(125);
    };
    let arguments = Arguments::new(words.map(|word| word.to_string_lossy().into_owned()));
    println!("{}", Outcome::from(act(&arguments)).to_json());
    ExitCode::SUCCESS
}
