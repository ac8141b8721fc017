//! The wire between the client's namespace and the origins'.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::addresses::{
    CLIENT_DEVICE, CLIENT_V4, CLIENT_V6, NAMESERVER_V4, ORIGIN_DEVICE, ORIGIN_HOSTS, PRIVATE_V4,
    WIRE_V4, WIRE_V6, origin_v4, origin_v6,
};
use crate::namespace::Namespace;
use crate::programs;

/// The client's hardware address: what the sniffer tells the client's frames by.
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ORIGIN_MAC: &str = "02:00:00:00:00:02";

/// Joins two namespaces by a veth pair and gives both their addresses. No route but the wire's own.
pub(crate) fn join(client: &Namespace, origins: &Namespace) {
    for namespace in [client, origins] {
        namespace.run(quieten);
    }
    let mac = CLIENT_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let peer = origins.tid();
    let script = format!(
        "link set lo up
         link add {CLIENT_DEVICE} address {mac} type veth peer name {ORIGIN_DEVICE} address {ORIGIN_MAC} netns {peer}
         addr add {CLIENT_V4}/24 dev {CLIENT_DEVICE}
         addr add {CLIENT_V6}/64 dev {CLIENT_DEVICE} nodad
         addr add 10.77.0.1/24 dev {CLIENT_DEVICE}
         link set {CLIENT_DEVICE} up\n"
    );
    client.run(move || ip(&script));
    client.run(|| sysctl("ipv4/ping_group_range", "0 2147483647"));
    origins.run(|| ip(&origin_script()));
}

fn origin_script() -> String {
    let mut script = format!("link set lo up\nlink set {ORIGIN_DEVICE} up\n");
    let v4 = ORIGIN_HOSTS.map(origin_v4).chain([WIRE_V4, NAMESERVER_V4, PRIVATE_V4]);
    for address in v4 {
        script.push_str(&format!("addr add {address}/24 dev {ORIGIN_DEVICE}\n"));
    }
    for address in ORIGIN_HOSTS.map(origin_v6).chain([WIRE_V6]) {
        script.push_str(&format!("addr add {address}/64 dev {ORIGIN_DEVICE} nodad\n"));
    }
    script
}

/// Turns off what a new interface would say and wait for by itself.
fn quieten() {
    for (key, value) in [("accept_dad", "0"), ("router_solicitations", "0")] {
        sysctl(&format!("ipv6/conf/default/{key}"), value);
    }
}

fn sysctl(key: &str, value: &str) {
    let path = format!("/proc/sys/net/{key}");
    std::fs::write(&path, value).unwrap_or_else(|error| report(&path, &error));
}

/// Runs a script of the `ip` command in the calling thread's namespace.
fn ip(script: &str) {
    let mut command = Command::new(programs::require("ip"));
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("ip can be run");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(script.as_bytes()).expect("ip reads its script");
    drop(stdin);
    let output = child.wait_with_output().expect("ip can be waited for");
    assert!(output.status.success(), "ip: {}", String::from_utf8_lossy(&output.stderr));
}

#[expect(clippy::panic, reason = "a lab that cannot be built has to fail")]
fn report(path: &str, error: &std::io::Error) {
    panic!("{path}: {error}")
}
