//! What is not an HTTP request doesn't get out, not even under a rule that allows everything.
//!
//! Each act is first done outside, where the sniffer has to see it (else the test proves nothing),
//! then inside, where not one packet may reach the wire.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use httpjail_tests::addresses::{CLIENT_DEVICE, CLIENT_V4, WIRE_V4, WIRE_V6};
use httpjail_tests::{BANNER, Invocation, Lab, sys};
use serde_json::Value;

const EVERYTHING: &str = "true";
/// How long a peer outside knocks at a listener in the jail.
const KNOCK: Duration = Duration::from_millis(1500);

const V4: &str = "45.67.89.2:4433";
const V6: &str = "[2a0f:9400:7777::2]:4433";

/// The act gets out without the jail, and is refused by the kernel within.
fn assert_refused(act: &[&str]) -> Value {
    let lab = Lab::new();
    let report = assert_kept_in(&lab, act, lab.jail());
    lab.assert_clean();
    report
}

fn assert_kept_in(lab: &Lab, act: &[&str], jail: Invocation<'_>) -> Value {
    let twin = lab.outside().probe(act.iter().chain(&["--mark", "outside"])).exits(0).report();
    assert!(lab.saw("outside"), "the act didn't get out without a jail: {twin}");
    let jail = jail.js(EVERYTHING);
    let report =
        lab.assert_silent(|| jail.probe(act.iter().chain(&["--mark", "inside"])).exits(0).report());
    assert_eq!(report["ok"], false, "the jailed program was told that it was sent: {report}");
    report
}

fn assert_errno(report: &Value, errno: i32) {
    assert_eq!(report["errno"], errno, "{report}");
}

#[test]
fn refuses_udp_connect_with_eperm() {
    for target in [V4, V6] {
        assert_errno(&assert_refused(&["udp-connect", target]), libc::EPERM);
    }
}

#[test]
fn refuses_udp_sendto_with_eperm() {
    for target in [V4, V6] {
        assert_errno(&assert_refused(&["udp-send-to", target]), libc::EPERM);
    }
}

#[test]
fn refuses_quic_with_eperm() {
    assert_errno(&assert_refused(&["udp-send-to", "45.67.89.2:443"]), libc::EPERM);
}

#[test]
fn refuses_udp_to_a_v4_mapped_address() {
    assert_errno(&assert_refused(&["udp-connect", V4, "--mapped", "yes"]), libc::EPERM);
    assert_errno(&assert_refused(&["udp-send-to", V4, "--mapped", "yes"]), libc::EPERM);
}

#[test]
fn refuses_udp_sendto_without_an_address_family() {
    assert_errno(&assert_refused(&["udp-unspecified-family", V4]), libc::EPERM);
}

#[test]
fn refuses_udp_sendto_on_a_connected_socket() {
    assert_refused(&["udp-connected-send-to", V4]);
}

#[test]
fn refuses_udp_from_a_bound_source() {
    assert_refused(&["udp-send-to", V4, "--source", "45.67.89.1:5353"]);
}

#[test]
fn refuses_udp_out_of_a_chosen_device() {
    for option in ["--bind-device", "--unicast-device"] {
        for target in [V4, V6] {
            assert_refused(&["udp-send-to", target, option, CLIENT_DEVICE]);
        }
    }
}

#[test]
fn refuses_udp_by_packet_info() {
    for target in [V4, V6] {
        assert_refused(&["udp-packet-info", target, "--device", CLIENT_DEVICE]);
    }
}

#[test]
fn refuses_udp_to_a_dns_port_out_of_a_chosen_device() {
    let lab = Lab::new();
    let act = ["udp-send-to", "45.67.89.2:53", "--unicast-device", CLIENT_DEVICE];
    lab.outside().probe(act.iter().chain(&["--mark", "outside"]));
    assert!(lab.saw("outside"));
    let before = lab.frames().len();
    lab.jail().js(EVERYTHING).probe(act.iter().chain(&["--mark", "inside"])).exits(0);
    assert_eq!(lab.frames()[before..].len(), 0, "a redirected packet left by the device");
    lab.assert_clean();
}

#[test]
fn refuses_udp_to_a_link_local_address() {
    let lab = Lab::new();
    let device = lab.at_client(|| sys::interface_index(CLIENT_DEVICE)).expect("the lab's device");
    let target = format!("[fe80::ff:fe00:2%{device}]:4433");
    assert_kept_in(&lab, &["udp-send-to", &target], lab.jail());
    assert_kept_in(&lab, &["udp-connect", &target], lab.jail());
    lab.assert_clean();
}

#[test]
fn refuses_multicast() {
    let source = CLIENT_V4.to_string();
    assert_refused(&["udp-multicast", "224.0.0.99:5353", "--source-address", &source]);
    assert_refused(&["udp-multicast", "[ff02::1234]:5353", "--device", CLIENT_DEVICE]);
}

#[test]
fn refuses_udp_by_io_uring() {
    assert_refused(&["io-uring", V4]);
}

#[test]
fn refuses_udplite_as_an_unknown_protocol() {
    for target in [V4, V6] {
        assert_errno(&assert_refused(&["udplite", target]), libc::EPROTONOSUPPORT);
    }
}

#[test]
fn refuses_ping_sockets() {
    assert_refused(&["ping", "45.67.89.2:0"]);
    assert_refused(&["ping", "[2a0f:9400:7777::2]:0"]);
}

#[test]
fn refuses_the_ping_command() {
    let lab = Lab::new();
    let ping = ["ping", "-c1", "-W3", "45.67.89.2"];
    lab.outside().run(ping).exits(0);
    let before = lab.frames().len();
    let jailed = lab.jail().js(EVERYTHING).run(ping);
    assert_ne!(jailed.code, Some(0), "{jailed:?}");
    assert_eq!(lab.frames()[before..].len(), 0);
    lab.assert_clean();
}

#[test]
fn refuses_raw_sockets() {
    assert_refused(&["raw", "45.67.89.2:0"]);
    assert_refused(&["raw", "[2a0f:9400:7777::2]:0"]);
}

/// No hook sees them: a user has no right to them, and root loses it on the way into the jail.
#[test]
fn refuses_packet_sockets_to_root() {
    let lab = Lab::new();
    assert_kept_in(&lab, &["packet", CLIENT_DEVICE], lab.jail());
    lab.assert_clean();
}

#[test]
fn refuses_packet_sockets_to_the_user() {
    let lab = Lab::new();
    assert_kept_in(&lab, &["packet", CLIENT_DEVICE], lab.jail().as_user());
    lab.assert_clean();
}

/// TCP that is not HTTP: without the jail the server's banner comes, within it doesn't.
fn assert_no_banner(act: &[&str]) {
    let lab = Lab::new();
    lab.banner_server();
    let act: Vec<_> = act.iter().chain(&["--mark", "SSH-2.0-probe\r\n"]).collect();
    let twin = lab.outside().probe(&act).exits(0).report();
    assert!(twin.to_string().contains(BANNER), "no banner without a jail: {twin}");
    let jailed = lab.assert_silent(|| lab.jail().js(EVERYTHING).probe(&act).exits(0));
    assert!(!jailed.stdout.contains(BANNER), "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn refuses_an_ssh_server() {
    for target in [WIRE_V4.into(), WIRE_V6.into()] {
        let lab = Lab::new();
        lab.banner_server();
        let target = SocketAddr::new(target, 22);
        let act = ["tcp", &target.to_string(), "--mark", "SSH-2.0-probe\r\n"];
        assert!(lab.outside().probe(act).stdout.contains(BANNER));
        let jailed = lab.assert_silent(|| lab.jail().js(EVERYTHING).probe(act).exits(0));
        assert!(!jailed.stdout.contains(BANNER), "{jailed:?}");
        assert_eq!(jailed.log, [format!("- TCP tcp://{target}")]);
        lab.assert_clean();
    }
}

#[test]
fn refuses_nc_to_an_ssh_port() {
    let lab = Lab::new();
    lab.banner_server();
    let nc = "printf 'SSH-2.0-nc\\r\\n' | nc -w 3 45.67.89.2 22";
    assert!(lab.outside().sh(nc).stdout.contains(BANNER));
    let jailed = lab.jail().js(EVERYTHING).sh(nc);
    assert!(!jailed.stdout.contains(BANNER), "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn refuses_a_v4_mapped_connect_to_an_ssh_server() {
    assert_no_banner(&["tcp", "45.67.89.2:22", "--mapped", "yes"]);
}

#[test]
fn refuses_a_connect_from_a_bound_source() {
    assert_no_banner(&["tcp", "45.67.89.2:22", "--source", "45.67.89.1:2222"]);
}

#[test]
fn refuses_a_connect_out_of_a_chosen_device() {
    for option in ["--bind-device", "--unicast-device"] {
        for target in ["45.67.89.2:22", "[2a0f:9400:7777::2]:22"] {
            assert_no_banner(&["tcp", target, option, CLIENT_DEVICE]);
        }
    }
}

#[test]
fn refuses_multipath_tcp() {
    assert_no_banner(&["mptcp", "45.67.89.2:22"]);
}

#[test]
fn refuses_data_in_the_syn() {
    assert_no_banner(&["fast-open", "45.67.89.2:22"]);
}

#[test]
fn refuses_a_segment_routing_header() {
    const ROUTING: u8 = 43;
    let lab = Lab::new();
    let act = ["routing-header", "[2a0f:9400:7777::a]:443", "--via", "2a0f:9400:7777::2"];
    lab.outside().probe(act).exits(0);
    assert!(lab.frames().iter().any(|frame| frame.protocol == ROUTING), "no twin");
    lab.assert_silent(|| lab.jail().js(EVERYTHING).probe(act).exits(0));
    lab.assert_clean();
}

/// Whether a peer at the origins is answered by a listener of the client's namespace.
fn knocks(lab: &Lab, address: SocketAddr) -> io::Result<()> {
    lab.at_origins(move || TcpStream::connect_timeout(&address, KNOCK).map(drop))
}

#[test]
fn hides_a_tcp_listener_from_outside() {
    for (bind, own) in [("0.0.0.0:7000", "45.67.89.1"), ("[::]:7000", "2a0f:9400:7777::1")] {
        let lab = Lab::new();
        let address = SocketAddr::new(own.parse().expect("an address"), 7000);
        let outside = lab.outside().start_probe(["listen", bind]);
        outside.line("listening");
        knocks(&lab, address).expect("the unjailed listener is reached");
        outside.finish().exits(0);
        let before = lab.frames().len();
        let jailed = lab.jail().js(EVERYTHING).start_probe(["listen", bind]);
        jailed.line("listening");
        knocks(&lab, address).expect_err("the jailed listener is not");
        assert_eq!(jailed.finish().exits(0).report()["seen"]["accepted"], 0);
        assert_eq!(lab.frames()[before..].len(), 0, "an answer got out");
        lab.assert_clean();
    }
}

#[test]
fn hides_a_udp_listener_from_outside() {
    let lab = Lab::new();
    let knock = || {
        lab.at_origins(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.set_read_timeout(Some(KNOCK))?;
            socket.send_to(b"knock", (CLIENT_V4, 7000))?;
            socket.recv(&mut [0; 16])
        })
    };
    let outside = lab.outside().start_probe(["listen-udp", "0.0.0.0:7000"]);
    outside.line("listening");
    knock().expect("the unjailed listener answers");
    outside.finish().exits(0);
    let before = lab.frames().len();
    let jailed = lab.jail().js(EVERYTHING).start_probe(["listen-udp", "0.0.0.0:7000"]);
    jailed.line("listening");
    knock().expect_err("the jailed listener does not");
    assert_eq!(jailed.finish().exits(0).report()["seen"]["accepted"], 0);
    assert_eq!(lab.frames()[before..].len(), 0, "an answer got out");
    lab.assert_clean();
}
