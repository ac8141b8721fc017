//! A name server that knows the lab's names and remembers every question.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdp};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

use crate::addresses::NAMESERVER_V4;
use crate::namespace::Namespace;
use crate::servers::Servers;

/// Names below this get no answer at all.
const SILENT: &str = ".silent.test";

/// A name server at [`NAMESERVER_V4`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Nameserver {
    names: Arc<Mutex<HashMap<String, Vec<IpAddr>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Nameserver {
    pub(crate) fn start(namespace: &Namespace, servers: &Servers) -> Self {
        let this = Self::default();
        let address = SocketAddr::from((NAMESERVER_V4, 53));
        let socket = namespace.run(move || StdUdp::bind(address)).expect("port 53 is free");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        let _guard = servers.handle().enter();
        let socket = UdpSocket::from_std(socket).expect("a socket is pollable");
        servers.spawn(serve(this.clone(), socket));
        this
    }

    /// Lets a name stand for these addresses from now on.
    pub(crate) fn set(&self, name: &str, addresses: &[IpAddr]) {
        let mut names = self.names.lock().expect("no server panics");
        names.insert(name.to_owned(), addresses.to_vec());
    }

    /// The names asked for so far, in lower case and without the last dot.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no server panics").clone()
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut message = Message::from_vec(query).ok()?;
        let question = message.queries().first()?.clone();
        let name = question.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let names = self.names.lock().expect("no server panics");
        let addresses = names.get(&name).cloned();
        let is_silent = name.ends_with(SILENT);
        self.asked.lock().expect("no server panics").push(name);
        if is_silent {
            return None;
        }
        message.set_message_type(MessageType::Response).set_authoritative(true);
        if addresses.is_none() {
            message.set_response_code(ResponseCode::NXDomain);
        }
        for address in addresses.unwrap_or_default() {
            let data = match address {
                IpAddr::V4(v4) if question.query_type() == RecordType::A => RData::A(A(v4)),
                IpAddr::V6(v6) if question.query_type() == RecordType::AAAA => {
                    RData::AAAA(AAAA(v6))
                }
                IpAddr::V4(_) | IpAddr::V6(_) => continue,
            };
            message.add_answer(Record::from_rdata(question.name().clone(), 0, data));
        }
        message.to_vec().ok()
    }
}

async fn serve(nameserver: Nameserver, socket: UdpSocket) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        if let Some(reply) = buffer.get(..length).and_then(|query| nameserver.answer(query)) {
            drop(socket.send_to(&reply, client).await); // A lost datagram is the client's to ask again.
        }
    }
}
