//! The stub over real loopback sockets and in-memory streams.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};

use super::*;
use crate::policy::SyntheticNames as _;

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::new();
    message.set_id(id);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message].concat()
}

fn stub() -> (Stub, Arc<Names>) {
    let names = Arc::new(Names::new());
    (Stub::new(Arc::clone(&names)), names)
}

async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> Message {
    let length = stream.read_u16().await.unwrap();
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.unwrap();
    Message::from_vec(&bytes).unwrap()
}

fn address(reply: &Message) -> IpAddr {
    reply.answers()[0].data().ip_addr().unwrap()
}

async fn asks_over_udp(bind: &str) {
    let (stub, names) = stub();
    let socket = StdUdpSocket::bind(bind).unwrap();
    let server: SocketAddr = socket.local_addr().unwrap();
    let serving = tokio::spawn(async move { stub.serve_udp(socket).await });

    let client = UdpSocket::bind(bind).await.unwrap();
    client.send_to(b"nonsense that is no DNS query at all", server).await.unwrap();
    client.send_to(&query(7, "a.test."), server).await.unwrap();
    let mut buffer = [0; 512];
    let reply = loop {
        let (length, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!(from, server);
        let reply = Message::from_vec(&buffer[..length]).unwrap();
        if reply.id() == 7 {
            break reply;
        }
    };
    assert_eq!(names.name_of(address(&reply)).as_deref(), Some("a.test"));
    serving.abort();
}

#[tokio::test]
async fn answers_over_udp_on_ipv4() {
    asks_over_udp("127.0.0.1:0").await;
}

#[tokio::test]
async fn answers_over_udp_on_ipv6() {
    asks_over_udp("[::1]:0").await;
}

#[tokio::test]
async fn goes_on_serving_udp_after_a_client_went_away() {
    let (stub, _) = stub();
    let socket = StdUdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    let serving = tokio::spawn(async move { stub.serve_udp(socket).await });
    let gone = StdUdpSocket::bind("127.0.0.1:0").unwrap();
    gone.send_to(&query(1, "a.test."), server).unwrap();
    drop(gone);

    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&query(2, "a.test."), server).await.unwrap();
    let mut buffer = [0; 512];
    client.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..2], &[0, 2]);
    serving.abort();
}

#[tokio::test]
async fn answers_pipelined_queries_in_order() {
    let (stub, names) = stub();
    let (mut client, server) = tokio::io::duplex(64);
    let serving = tokio::spawn(async move { stub.serve_tcp(server).await });
    let (mut reader, mut writer) = tokio::io::split(&mut client);
    let write = async {
        for id in 0..200 {
            let query = framed(&query(id, &format!("host-{id}.test.")));
            writer.write_all(&query).await.unwrap();
        }
    };
    let read = async {
        for id in 0..200 {
            let reply = read_reply(&mut reader).await;
            assert_eq!(reply.id(), id);
            let name = names.name_of(address(&reply));
            assert_eq!(name, Some(format!("host-{id}.test")));
        }
    };
    tokio::join!(write, read);
    drop(client);
    serving.await.unwrap();
}

#[tokio::test]
async fn answers_a_query_that_comes_byte_by_byte() {
    let (stub, _) = stub();
    let (mut client, server) = tokio::io::duplex(1);
    let serving = tokio::spawn(async move { stub.serve_tcp(server).await });
    for byte in framed(&query(9, "a.test.")) {
        client.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(read_reply(&mut client).await.id(), 9);
    drop(client);
    serving.await.unwrap();
}

#[tokio::test]
async fn skips_empty_frames_and_replies() {
    let (stub, _) = stub();
    let (mut client, server) = tokio::io::duplex(1024);
    let serving = tokio::spawn(async move { stub.serve_tcp(server).await });
    client.write_all(&[0, 0]).await.unwrap();
    client.write_all(&framed(&query(3, "a.test."))).await.unwrap();
    assert_eq!(read_reply(&mut client).await.id(), 3);
    drop(client);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closes_a_stream_that_falls_silent() {
    let (stub, _) = stub();
    let (mut client, server) = tokio::io::duplex(1024);
    client.write_all(&[0]).await.unwrap();
    let serving = tokio::spawn(async move { stub.serve_tcp(server).await });
    assert_eq!(client.read(&mut [0; 16]).await.unwrap(), 0);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closes_a_stream_that_takes_no_replies() {
    let (stub, _) = stub();
    let (mut client, server) = tokio::io::duplex(16);
    let serving = tokio::spawn(async move { stub.serve_tcp(server).await });
    client.write_all(&framed(&query(1, "a.test."))).await.unwrap();
    serving.await.unwrap();
}
