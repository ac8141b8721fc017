//! Clients whose answers last: WebSockets and events work in a jail as they do without.

use std::sync::Arc;

use httpjail_tests::addresses::WIRE_V4;
use httpjail_tests::{Duplex, Finished, Lab, echo_websocket};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;

const RULE: &str = "r.host === 'a.test'";
const EVENTS: usize = 5;

/// The client says `works` without a jail and in one that allows it, with these records; in one
/// that doesn't, it doesn't, and nothing gets out.
fn assert_works(lab: &Lab, script: &str, records: &[&str]) {
    let works = |run: &Finished| run.code == Some(0) && run.stdout.contains("works");
    let outside = lab.outside().sh(script);
    assert!(works(&outside), "without a jail: {outside:?}");
    let allowed = lab.jail().as_user().js(RULE).sh(script);
    assert!(works(&allowed), "{allowed:?}");
    assert_eq!(allowed.log, records);
    let denied = lab.assert_silent(|| lab.jail().as_user().js(&format!("!({RULE})")).sh(script));
    assert!(!works(&denied), "{denied:?}");
    assert!(denied.log.iter().all(|line| line.starts_with("- GET ")), "{denied:?}");
    assert!(!denied.log.is_empty());
    lab.assert_clean();
}

#[test]
fn python_websockets() {
    let lab = Lab::new();
    lab.raw_origin("a.test", echo_websocket);
    let program = "import asyncio, websockets
async def main():
    for url in (\"ws://a.test/chat\", \"wss://a.test:8443/chat\"):
        async with websockets.connect(url, max_size=None) as socket:
            for message in (\"one\", \"two\", b\"x\" * 1_000_000):
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping())
            await socket.send(\"end\")
            assert await socket.recv() == \"bye\"
            await socket.wait_closed()
            assert socket.close_code == 1000 or socket.close_code == 1005, socket.close_code
    print(\"works\")
asyncio.run(main())";
    let records = ["+ GET http://a.test/chat", "+ GET https://a.test:8443/chat"];
    assert_works(&lab, &format!("/usr/bin/python3 -c '{program}'"), &records);
}

/// A masked frame is written by hand: no library for it comes with every version of Node.
#[test]
fn node_upgrade() {
    let lab = Lab::new();
    lab.raw_origin("a.test", echo_websocket);
    let program = "const headers = { Connection: \"Upgrade\", Upgrade: \"websocket\",
    \"Sec-WebSocket-Version\": 13, \"Sec-WebSocket-Key\": \"dGhlIHNhbXBsZSBub25jZQ==\" };
const request = require(\"https\").get(\"https://a.test/chat\", { headers });
request.on(\"upgrade\", (reply, socket) => {
    const accept = reply.headers[\"sec-websocket-accept\"];
    if (accept !== \"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\") process.exit(1);
    socket.on(\"data\", data => {
        if (data.toString(\"latin1\") !== \"\\x81\\x05hello\") process.exit(1);
        console.log(\"works\");
        socket.end();
    });
    socket.write(Buffer.concat([Buffer.from([0x81, 0x85, 0, 0, 0, 0]), Buffer.from(\"hello\")]));
});";
    let script = format!("node -e '{program}'");
    assert_works(&lab, &script, &["+ GET https://a.test/chat"]);
}

/// By RFC 8441, to a server of the same kind.
#[test]
fn node_websocket_over_http2() {
    let lab = Lab::new();
    lab.set_name("a.test", &[WIRE_V4.into()]);
    let server = "const settings = { enableConnectProtocol: true };
const server = require('http2').createServer({ settings });
server.on('stream', (stream, headers) => {
    if (headers[':protocol'] !== 'websocket') return stream.respond({ ':status': 404 });
    stream.respond({ 'sec-websocket-protocol': headers['sec-websocket-protocol'] });
    stream.pipe(stream);
});
server.listen(8000, '0.0.0.0', () => console.log('listening'));";
    let server = lab.start_at_origins(vec!["node", "-e", server]);
    server.line("listening");
    let program = "const session = require(\"http2\").connect(\"http://a.test:8000\");
session.on(\"error\", () => process.exit(1));
session.on(\"remoteSettings\", settings => {
    if (!settings.enableConnectProtocol) process.exit(1);
    const stream = session.request({ \":method\": \"CONNECT\", \":protocol\": \"websocket\",
        \":path\": \"/chat\", \"sec-websocket-version\": 13, \"sec-websocket-protocol\": \"x\" });
    stream.on(\"response\", headers => {
        if (headers[\":status\"] !== 200 || headers[\"sec-websocket-protocol\"] !== \"x\") process.exit(1);
        stream.write(\"hello\");
    });
    stream.on(\"data\", data => {
        if (data.toString() !== \"hello\") process.exit(1);
        console.log(\"works\");
        stream.end();
    });
    stream.on(\"end\", () => session.close());
});";
    assert_works(&lab, &format!("node -e '{program}'"), &["+ GET http://a.test:8000/chat"]);
    drop(server);
}

/// Sends each event once the client has told, by a request of its own, that it has the one before.
async fn send_events(stream: Box<dyn Duplex>, told: Arc<Semaphore>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    if head.starts_with("GET /told ") {
        told.add_permits(1);
        drop(stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await);
    } else {
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        drop(stream.write_all(answer.as_bytes()).await);
        for number in 0..EVENTS {
            let event = format!("data: {number}\n\n");
            if stream.write_all(event.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            told.acquire().await.expect("it is never closed").forget();
        }
    }
    drop(stream.shutdown().await);
}

fn assert_hears_events(script: &str) {
    let lab = Lab::new();
    let told = Arc::new(Semaphore::new(0));
    lab.raw_origin("a.test", move |stream| send_events(stream, Arc::clone(&told)));
    let told = ["+ GET https://a.test/told"; EVENTS];
    let records = [&["+ GET https://a.test/events"][..], &told].concat();
    assert_works(&lab, script, &records);
}

#[test]
fn python_events() {
    let program = "import requests
heard = []
with requests.get(\"https://a.test/events\", stream=True) as reply:
    reply.raise_for_status()
    for line in reply.iter_lines(chunk_size=1):
        if line:
            heard.append(line)
            requests.get(\"https://a.test/told\").raise_for_status()
assert heard == [b\"data: %d\" % number for number in range(5)], heard
print(\"works\")";
    assert_hears_events(&format!("/usr/bin/python3 -c '{program}'"));
}

#[test]
fn node_events() {
    let program = "(async () => {
    const reply = await fetch(\"https://a.test/events\");
    if (!reply.ok) process.exit(1);
    let heard = \"\";
    for await (const piece of reply.body) {
        heard += Buffer.from(piece).toString();
        await fetch(\"https://a.test/told\");
    }
    if (heard !== [0, 1, 2, 3, 4].map(n => `data: ${n}\\n\\n`).join(\"\")) process.exit(1);
    console.log(\"works\");
})()";
    assert_hears_events(&format!("node -e '{program}'"));
}
