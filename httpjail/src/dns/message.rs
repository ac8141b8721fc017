//! One DNS query in, one reply out: bytes only, no sockets.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::{
    op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};

use super::synthetic::Names;
use crate::policy::Host;

/// Seconds for which an answer may be kept. It holds for the whole run, but a cache that
/// outlives the run must not keep it for long.
const TTL: u32 = 60;

/// The UDP size that replies announce: fits every path (DNS flag day 2020).
const MAX_PAYLOAD: u16 = 1232;

/// Most additional records that a query may carry. Real ones carry an OPT and perhaps a
/// signature; the bound keeps a small packet from announcing memory that it doesn't fill.
const MAX_ADDITIONAL: u16 = 4;

/// Replies to `query`, or stays silent (`None`) where a reply would be wrong: to a reply, and to
/// what is too short to have an id.
///
/// One question has one answer at most, so a reply fits the 512 bytes that every resolver takes
/// over UDP (RFC 1035, 4.2.1), whatever size the query's EDNS record offers, and never needs to
/// be cut.
pub fn reply(query: &[u8], names: &Names) -> Option<Vec<u8>> {
    let mut decoder = BinDecoder::new(query);
    let header = Header::read(&mut decoder).ok()?;
    if header.message_type() == MessageType::Response {
        return None;
    }
    let mut reply = blank_reply(&header);
    match Question::read(&header, &mut decoder) {
        Ok(question) => question.answer(&mut reply, names),
        Err(code) => {
            reply.set_response_code(code);
        }
    }
    reply.to_vec().ok()
}

fn blank_reply(query: &Header) -> Message {
    let mut reply = Message::new();
    reply
        .set_id(query.id())
        .set_message_type(MessageType::Response)
        .set_op_code(query.op_code())
        .set_recursion_desired(query.recursion_desired())
        .set_recursion_available(true)
        .set_checking_disabled(query.checking_disabled());
    reply
}

/// What one well-formed query asks.
struct Question {
    query: Query,
    edns: Option<Edns>,
}

impl Question {
    /// Reads what follows the header.
    ///
    /// The records are counted before they are read, for the decoder sets memory aside for as
    /// many as the header claims.
    fn read(header: &Header, decoder: &mut BinDecoder<'_>) -> Result<Self, ResponseCode> {
        if header.op_code() != OpCode::Query {
            return Err(ResponseCode::NotImp);
        }
        let countable = header.query_count() == 1
            && header.answer_count() == 0
            && header.name_server_count() == 0
            && header.additional_count() <= MAX_ADDITIONAL;
        if !countable {
            return Err(ResponseCode::FormErr);
        }
        let query = Query::read(decoder).map_err(|_| ResponseCode::FormErr)?;
        let additional = usize::from(header.additional_count());
        let (_, edns, _) =
            Message::read_records(decoder, additional, true).map_err(|_| ResponseCode::FormErr)?;
        Ok(Self { query, edns })
    }

    fn answer(self, reply: &mut Message, names: &Names) {
        let answer = match &self.edns {
            Some(edns) if edns.version() != 0 => Err(ResponseCode::BADVERS),
            Some(_) | None => rdata_for(&self.query, names),
        };
        note(&self.query, &answer, names);
        if let Some(edns) = &self.edns {
            let mut ours = Edns::new();
            ours.set_max_payload(MAX_PAYLOAD).set_dnssec_ok(edns.flags().dnssec_ok);
            reply.set_edns(ours);
        }
        match answer {
            Ok(Some(rdata)) => {
                reply.add_answer(Record::from_rdata(self.query.name().clone(), TTL, rdata));
            }
            // NOERROR without records: the name exists and has nothing of this type.
            Ok(None) => {}
            Err(code) => {
                reply.set_response_code(code);
            }
        }
        reply.add_query(self.query);
    }
}

/// Tells the records of a question and its answer.
fn note(query: &Query, answer: &Result<Option<RData>, ResponseCode>, names: &Names) {
    if !names.are_recorded() {
        return;
    }
    let (word, address) = match answer {
        Ok(Some(RData::A(ip))) => ("address", Some(ip.0.into())),
        Ok(Some(RData::AAAA(ip))) => ("address", Some(ip.0.into())),
        Ok(Some(_) | None) => ("empty", None),
        Err(ResponseCode::NXDomain) => ("no-name", None),
        Err(ResponseCode::ServFail) => ("too-many-names", None),
        Err(_) => ("refused", None),
    };
    let name = query.name().to_ascii();
    let name = name.strip_suffix('.').unwrap_or(&name);
    names.note(name, &query.query_type().to_string(), word, address);
}

/// The record that answers `query`, if its type has one.
fn rdata_for(query: &Query, names: &Names) -> Result<Option<RData>, ResponseCode> {
    if query.query_class() != DNSClass::IN {
        return Err(ResponseCode::Refused);
    }
    let name = match Subject::of(query.name()) {
        Subject::Localhost => {
            return Ok(match query.query_type() {
                RecordType::A => Some(RData::A(Ipv4Addr::LOCALHOST.into())),
                RecordType::AAAA => Some(RData::AAAA(Ipv6Addr::LOCALHOST.into())),
                _ => None,
            });
        }
        Subject::Root => return Ok(None),
        Subject::Unreachable => return Err(ResponseCode::NXDomain),
        Subject::Name(name) => name,
    };
    if !matches!(query.query_type(), RecordType::A | RecordType::AAAA) {
        return Ok(None);
    }
    let addresses = names.assign(&name).map_err(|_| ResponseCode::ServFail)?;
    Ok(Some(match query.query_type() {
        RecordType::A => RData::A(addresses.v4.into()),
        _ => RData::AAAA(addresses.v6.into()),
    }))
}

/// What a query's name stands for.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    /// This machine, as seen from inside the jail (RFC 6761, 6.3).
    Localhost,
    /// The root of the tree: no host.
    Root,
    /// A host that a request could name, in its canonical form.
    Name(String),
    /// A name that no request could carry as its host, such as one with a space in it.
    Unreachable,
}

impl Subject {
    fn of(name: &Name) -> Self {
        let Some(text) = text_of(name) else { return Self::Unreachable };
        if text.is_empty() {
            return Self::Root;
        }
        if text == "localhost" || text.ends_with(".localhost") {
            return Self::Localhost;
        }
        // Reading the text as a host may change it (percent-encoding, numeric addresses). A name
        // that isn't its own canonical form would be judged as another one than was asked for.
        match Host::parse(&text) {
            Ok(Host::Name(canonical)) if canonical == text => Self::Name(text),
            Ok(Host::Name(_) | Host::Ip(_)) | Err(_) => Self::Unreachable,
        }
    }
}

/// The labels in lower case, joined by dots; `None` when one isn't ASCII or holds a dot itself.
fn text_of(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        let label = std::str::from_utf8(label).ok()?;
        if !label.is_ascii() || label.contains('.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
    }
    text.make_ascii_lowercase();
    Some(text)
}

#[cfg(test)]
mod tests;
