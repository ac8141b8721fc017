//! WebSockets case by case: whatever the two ends say to each other, proper or not, comes to them in a
//! jail as it does without.
//!
//! (The suite of Autobahn is written for Python 2 and doesn't start by Python 3, so the cases are our
//! own, after its chapters: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits,
//! compression.)

use httpjail_tests::addresses::WIRE_V4;
use httpjail_tests::{Lab, echo_websocket};

const RULE: &str = "r.host === 'a.test'";

/// Echoes messages; a text `close CODE REASON` makes it close so. It compresses if it is asked to.
const SERVER: &str = r#"
import asyncio, websockets
async def echo(socket, path):
    async for message in socket:
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            await socket.close(int(code), reason)
        elif message == "ping":
            await (await socket.ping(b"p" * 125))
            await socket.send("ponged")
        elif message == "fragments":
            async def pieces():
                for n in range(100):
                    yield str(n)
            await socket.send(pieces())
        else:
            await socket.send(message)
async def main():
    async with websockets.serve(echo, "0.0.0.0", 8000, max_size=2**25, ping_interval=None):
        print("listening", flush=True)
        await asyncio.Future()
asyncio.run(main())
"#;

/// Says for each case what came of it.
const CLIENT: &str = r#"
import asyncio, hashlib, random, struct, websockets
from websockets.exceptions import ConnectionClosed
URL = "ws://a.test:8000/chat"
random.seed(1)

def brief(message):
    data = message.encode() if isinstance(message, str) else message
    return f"{type(message).__name__} {len(data)} {hashlib.sha256(data).hexdigest()[:8]}"

async def say(name, act, **options):
    try:
        async with websockets.connect(URL, max_size=2**25, ping_interval=None, **options) as socket:
            said = await asyncio.wait_for(act(socket), 15)
    except ConnectionClosed as closed:
        said = f"closed {closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)}"
    print(f"{name}: {said}")

async def echoed(socket, message):
    await socket.send(message)
    got = await socket.recv()
    return brief(got) if got == message or isinstance(message, list) else f"another: {brief(got)}"

def frame(opcode, payload=b"", fin=True, rsv=0, mask=True, length=None):
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    size = len(payload) if length is None else length
    bit = 0x80 if mask else 0
    if size < 126: head += bytes([bit | size])
    elif size < 65536: head += bytes([bit | 126]) + struct.pack("!H", size)
    else: head += bytes([bit | 127]) + struct.pack("!Q", size)
    key = b"\x01\x02\x03\x04" if mask else b""
    masked = bytes(b ^ key[i % 4] for i, b in enumerate(payload)) if mask else payload
    return head + key + masked

async def raw(socket, pieces, answers):
    for piece in pieces:
        socket.transport.write(piece)
        await asyncio.sleep(0)
    heard = [brief(await socket.recv()) for _ in range(answers)]
    if answers:
        socket.transport.write(CLOSE)
    await socket.wait_closed()
    return heard, socket.close_rcvd and (socket.close_rcvd.code, socket.close_rcvd.reason)

CLOSE = frame(8, struct.pack("!H", 1000) + b"end")

async def main():
    for deflate in (None, "deflate"):
        for size in (0, 1, 125, 126, 127, 65535, 65536, 1 << 20, 9_000_000):
            for kind in ("text", "random"):
                message = "x" * size if kind == "text" else random.randbytes(size)
                name = f"{kind} of {size}, {deflate}"
                await say(name, lambda socket: echoed(socket, message), compression=deflate)
        await say(f"umlauts, {deflate}", lambda socket: echoed(socket, "aä€🦀" * 999), compression=deflate)
        for count in (1, 2, 1000):
            pieces = [f"piece {n};" for n in range(count)]
            await say(f"fragments {count}, {deflate}", lambda socket: echoed(socket, pieces), compression=deflate)
        await say(f"its fragments, {deflate}", lambda socket: echoed(socket, ["fragments"]), compression=deflate)
        await say(f"many at once, {deflate}", many, compression=deflate)
    for size in (0, 1, 125):
        await say(f"our ping of {size}", lambda socket: pinged(socket, b"x" * size))
    await say("its ping", lambda socket: echoed(socket, ["ping"]))
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        await say(f"it closes by {code}", lambda socket: echoed(socket, f"close {code} because"))
        await say(f"we close by {code}", lambda socket: closed(socket, code))
    for name, answers, pieces in (
        ("a byte at a time", 1, [bytes([b]) for b in frame(1, b"slowly")]),
        ("ten frames in one piece", 10, [frame(1, b"x") * 10]),
        ("a ping amid fragments", 1, [frame(1, b"a", fin=False), frame(9, b"p"), frame(0, b"b")]),
        ("empty fragments", 1, [frame(1, fin=False), frame(0, fin=False), frame(0)]),
        ("a pong nobody asked for", 1, [frame(10, b"x"), frame(1, b"a")]),
        ("umlaut cut in two", 1, [frame(1, b"\xc3", fin=False), frame(0, b"\xa4")]),
        ("a close without a code", 0, [frame(8)]),
        ("a frame behind the close", 0, [CLOSE, frame(1, b"late")]),
        ("no UTF-8", 0, [frame(1, b"\xc3\x28")]),
        ("no UTF-8 in a reason", 0, [frame(8, struct.pack("!H", 1000) + b"\xff")]),
        ("a close of one byte", 0, [frame(8, b"\x03")]),
        ("a code that nobody sends", 0, [frame(8, struct.pack("!H", 1005))]),
        ("a fragment of nothing", 0, [frame(0, b"a")]),
        ("a message amid fragments", 0, [frame(1, b"a", fin=False), frame(1, b"b")]),
        ("a ping in fragments", 0, [frame(9, b"p", fin=False)]),
        ("a ping of 126", 0, [frame(9, b"p" * 126)]),
        ("a reserved bit", 0, [frame(1, b"a", rsv=1)]),
        ("a reserved opcode", 0, [frame(3, b"a")]),
        ("a reserved control opcode", 0, [frame(11, b"a")]),
        ("a frame without a mask", 0, [frame(1, b"a", mask=False)]),
        ("a length of 2^63", 0, [frame(2, b"a", length=1 << 63)]),
        ("more than it takes", 0, [frame(2, b"a", length=1 << 26)]),
    ):
        await say(name, lambda socket: raw(socket, pieces, answers), compression=None)

async def many(socket):
    messages = [str(n) * n for n in range(500)]
    for message in messages:
        await socket.send(message)
    return [await socket.recv() for _ in messages] == messages

async def pinged(socket, payload):
    await (await socket.ping(payload))
    return "ponged"

async def closed(socket, code):
    await socket.close(code, "we go")
    return socket.close_rcvd and (socket.close_rcvd.code, socket.close_rcvd.reason)

asyncio.run(main())
"#;

#[test]
fn every_case_ends_as_it_does_without_a_jail() {
    let lab = Lab::new();
    lab.set_name("a.test", &[WIRE_V4.into()]);
    let server = lab.start_at_origins(vec!["/usr/bin/python3", "-c", SERVER]);
    server.line("listening");
    let client = ["/usr/bin/python3", "-c", CLIENT];
    let outside = lab.outside().run(client).exits(0);
    let cases: Vec<_> = outside.stdout.lines().collect();
    // What is proper works, and what isn't is answered by its code.
    for (case, end) in [
        ("random of 9000000, None:", "bytes 9000000"),
        ("text of 9000000, deflate:", "str 9000000"),
        ("fragments 1000, deflate:", "str "),
        ("many at once, deflate:", "True"),
        ("its ping:", "str 6"),
        ("it closes by 4999:", "closed (4999, 'because')"),
        ("we close by 4000:", "(4000, "),
        ("a ping amid fragments:", "(['str 2 "),
        ("no UTF-8:", "([], (1007, "),
        ("a reserved opcode:", "([], (1002, "),
        ("more than it takes:", "([], (1009, "),
    ] {
        let line = cases.iter().find(|line| line.starts_with(case)).unwrap_or(&"");
        assert!(line.contains(end), "without a jail: {line} ({case} {end}) of {outside:?}");
    }
    let allowed = lab.jail().as_user().js(RULE).run(client).exits(0);
    for (outside, inside) in cases.iter().zip(allowed.stdout.lines()) {
        assert_eq!(inside, *outside);
    }
    assert_eq!(allowed.stdout.lines().count(), cases.len());
    assert_eq!(allowed.log.len(), cases.len(), "each is one request");
    assert!(allowed.log.iter().all(|line| line == "+ GET http://a.test:8000/chat"));
    let denied = lab.assert_silent(|| lab.jail().as_user().js("false").run(client));
    assert_eq!((denied.stdout.as_str(), denied.log.len()), ("", 1), "{denied:?}");
    drop(server);
    lab.assert_clean();
}

/// The library that most of Node's programs use, with compression as it offers it.
#[test]
fn node_ws() {
    let lab = Lab::new();
    lab.raw_origin("a.test", echo_websocket);
    let program = r#"const WebSocket = require("ws");
const socket = new WebSocket("wss://a.test/chat");
const sent = ["one", "x".repeat(1000000), "two"];
const heard = [];
socket.on("open", () => { sent.forEach(message => socket.send(message)); socket.ping("p"); });
socket.on("pong", () => socket.send("end"));
socket.on("message", message => heard.push(message.toString()));
socket.on("error", error => { console.error(error); process.exit(1); });
socket.on("close", code => {
    if (code !== 1000 && code !== 1005) process.exit(1);
    if (heard.join() !== [...sent, "bye"].join()) process.exit(1);
    console.log("works");
});"#;
    let script = format!("NODE_PATH=/usr/share/nodejs node -e '{program}'");
    assert_eq!(lab.outside().sh(&script).exits(0).stdout, "works\n");
    let allowed = lab.jail().as_user().js(RULE).sh(&script).exits(0);
    assert_eq!(allowed.stdout, "works\n");
    assert_eq!(allowed.log, ["+ GET https://a.test/chat"]);
    let denied = lab.assert_silent(|| lab.jail().as_user().js("false").sh(&script)).exits(1);
    assert_eq!(denied.log, ["- GET https://a.test/chat"]);
    lab.assert_clean();
}
