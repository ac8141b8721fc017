//! Replies, byte by byte and field by field.

use std::{net::IpAddr, str::FromStr};

use proptest::prelude::*;

use super::*;
use crate::policy::SyntheticNames as _;

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new();
    message.set_id(0x1234).set_recursion_desired(true);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask(message: &Message, names: &Names) -> Message {
    let reply = reply(&message.to_vec().unwrap(), names).expect("a reply");
    Message::from_vec(&reply).unwrap()
}

fn addresses(reply: &Message) -> Vec<IpAddr> {
    reply.answers().iter().map(|record| record.data().ip_addr().unwrap()).collect()
}

#[test]
fn answers_a_and_aaaa_with_the_synthetic_address_of_the_name() {
    let names = Names::new();
    let v4 = ask(&query("a.test.", RecordType::A), &names);
    let v6 = ask(&query("a.test.", RecordType::AAAA), &names);
    assert_eq!(addresses(&v4), [IpAddr::from_str("198.18.0.1").unwrap()]);
    assert_eq!(addresses(&v6), [IpAddr::from_str("fd68:7474:706a:6169::1").unwrap()]);
    assert_eq!(v4.answers()[0].ttl(), TTL);
    assert_eq!(names.name_of(addresses(&v4)[0]).as_deref(), Some("a.test"));
}

#[test]
fn echoes_id_question_and_the_case_of_its_letters() {
    let names = Names::new();
    let asked = query("wWw.ExAmPlE.tEsT.", RecordType::A);
    let reply = ask(&asked, &names);
    assert_eq!(reply.id(), 0x1234);
    assert_eq!(reply.message_type(), MessageType::Response);
    assert!(reply.recursion_available() && reply.recursion_desired() && !reply.truncated());
    assert!(reply.queries()[0].name().eq_case(asked.queries()[0].name()));
    assert!(reply.answers()[0].name().eq_case(asked.queries()[0].name()));
    assert_eq!(names.name_of(addresses(&reply)[0]).as_deref(), Some("www.example.test"));
}

#[test]
fn answers_other_types_with_nothing_and_gives_no_address_away() {
    use RecordType::*;
    let names = Names::new();
    for kind in [TXT, MX, SRV, HTTPS, SVCB, NS, SOA, CNAME, PTR, ANY, NULL, CAA, Unknown(4711)] {
        let reply = ask(&query("a.test.", kind), &names);
        assert_eq!(reply.response_code(), ResponseCode::NoError, "{kind}");
        assert!(reply.answers().is_empty(), "{kind}");
    }
    let first = ask(&query("b.test.", A), &names);
    assert_eq!(addresses(&first), [IpAddr::from_str("198.18.0.1").unwrap()]);
}

#[test]
fn localhost_is_this_machine() {
    let names = Names::new();
    for name in ["localhost.", "LocalHost.", "app.localhost."] {
        let v4 = ask(&query(name, RecordType::A), &names);
        let v6 = ask(&query(name, RecordType::AAAA), &names);
        assert_eq!(addresses(&v4), [IpAddr::from_str("127.0.0.1").unwrap()], "{name}");
        assert_eq!(addresses(&v6), [IpAddr::from_str("::1").unwrap()], "{name}");
    }
    let lookalike = ask(&query("notlocalhost.", RecordType::A), &names);
    assert_eq!(addresses(&lookalike), [IpAddr::from_str("198.18.0.1").unwrap()]);
}

#[test]
fn names_that_no_request_can_carry_do_not_exist() {
    let names = Names::new();
    let odd: [&[&[u8]]; 7] = [
        &[b"a b", b"test"],
        &[b"a.b", b"test"],
        &[b"%61", b"test"],
        &[b"\xff\xfe", b"test"],
        &[b"a\0", b"test"],
        &[b"1", b"2", b"3", b"4"],
        &[b"0x7f000001"],
    ];
    for labels in odd {
        let mut message = Message::new();
        let name = Name::from_labels(labels.iter().copied()).unwrap();
        message.add_query(Query::query(name, RecordType::A));
        let reply = ask(&message, &names);
        assert_eq!(reply.response_code(), ResponseCode::NXDomain, "{labels:?}");
        assert!(reply.answers().is_empty());
    }
    let root = ask(&query(".", RecordType::A), &names);
    assert_eq!((root.response_code(), root.answers().len()), (ResponseCode::NoError, 0));
}

#[test]
fn fails_when_all_addresses_are_taken() {
    let names = Names::with_capacity(1);
    ask(&query("a.test.", RecordType::A), &names);
    let second = ask(&query("b.test.", RecordType::A), &names);
    assert_eq!(second.response_code(), ResponseCode::ServFail);
    let known = ask(&query("a.test.", RecordType::AAAA), &names);
    assert_eq!(known.answers().len(), 1);
}

#[test]
fn refuses_what_is_not_one_question_about_the_internet() {
    let names = Names::new();
    let base = query("a.test.", RecordType::A);

    let mut chaos = Message::new();
    let mut version = Query::query(Name::from_ascii("version.bind.").unwrap(), RecordType::TXT);
    version.set_query_class(DNSClass::CH);
    chaos.add_query(version);
    assert_eq!(ask(&chaos, &names).response_code(), ResponseCode::Refused);

    let mut two = base.clone();
    two.add_query(Query::query(Name::from_ascii("b.test.").unwrap(), RecordType::A));
    assert_eq!(ask(&two, &names).response_code(), ResponseCode::FormErr);

    let mut none = Message::new();
    none.set_id(7);
    assert_eq!(ask(&none, &names).response_code(), ResponseCode::FormErr);

    for opcode in [OpCode::Status, OpCode::Notify, OpCode::Update, OpCode::Unknown(9)] {
        let mut other = base.clone();
        other.set_op_code(opcode);
        let reply = ask(&other, &names);
        assert_eq!(reply.response_code(), ResponseCode::NotImp);
        assert_eq!(reply.op_code(), opcode);
    }
}

#[test]
fn says_nothing_to_replies_and_to_fragments_of_a_header() {
    let names = Names::new();
    let mut response = query("a.test.", RecordType::A);
    response.set_message_type(MessageType::Response);
    assert_eq!(reply(&response.to_vec().unwrap(), &names), None);
    assert_eq!(reply(&[], &names), None);
    assert_eq!(reply(&[0x12, 0x34, 0x01], &names), None);
}

#[test]
fn speaks_edns_when_asked_to() {
    let names = Names::new();
    assert!(ask(&query("a.test.", RecordType::A), &names).extensions().is_none());

    let mut offer = query("a.test.", RecordType::A);
    offer.set_edns(Edns::new().set_max_payload(4096).set_dnssec_ok(true).clone());
    let reply = ask(&offer, &names);
    let edns = reply.extensions().as_ref().expect("an OPT record");
    assert_eq!((edns.version(), edns.max_payload()), (0, MAX_PAYLOAD));
    assert!(edns.flags().dnssec_ok);

    let mut future = query("a.test.", RecordType::A);
    future.set_edns(Edns::new().set_version(1).clone());
    let reply = ask(&future, &names);
    // The decoder calls 16 by its other name, BADSIG.
    assert_eq!(u16::from(reply.response_code()), u16::from(ResponseCode::BADVERS));
    assert!(reply.answers().is_empty());
}

#[test]
fn announced_records_that_are_not_there_are_a_format_error() {
    let names = Names::new();
    for count_at in [6, 8, 10] {
        let mut bytes = query("a.test.", RecordType::A).to_vec().unwrap();
        bytes[count_at..count_at + 2].copy_from_slice(&u16::MAX.to_be_bytes());
        let reply = Message::from_vec(&reply(&bytes, &names).unwrap()).unwrap();
        assert_eq!(reply.response_code(), ResponseCode::FormErr);
    }
}

#[test]
fn every_prefix_of_a_query_gets_silence_or_a_format_error() {
    let names = Names::new();
    let mut message = query("www.example.test.", RecordType::A);
    message.set_edns(Edns::new().clone());
    let bytes = message.to_vec().unwrap();
    for end in 0..bytes.len() {
        let Some(reply) = reply(&bytes[..end], &names) else {
            assert!(end < 12, "silent at {end}");
            continue;
        };
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.response_code(), ResponseCode::FormErr, "at {end}");
    }
}

#[test]
fn the_longest_name_fits_512_bytes() {
    let label = "a".repeat(63);
    let name = format!("{label}.{label}.{label}.{}.", "a".repeat(61));
    let mut message = query(&name, RecordType::AAAA);
    message.set_edns(Edns::new().set_max_payload(0).clone());
    let reply = reply(&message.to_vec().unwrap(), &Names::new()).unwrap();
    assert!(reply.len() <= 512, "{}", reply.len());
    assert_eq!(Message::from_vec(&reply).unwrap().answers().len(), 1);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_every_reply_is_small_and_readable(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        check_any(&bytes)?;
    }

    #[test]
    fn no_damage_to_a_query_makes_it_panic(
        name in "[a-zA-Z0-9]{1,20}(\\.[a-zA-Z0-9_]{1,20}){0,5}",
        kind in any::<u16>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut message = query(&name, RecordType::from(kind));
        message.set_edns(Edns::new().clone());
        let mut bytes = message.to_vec().unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check_any(&bytes)?;
    }
}

fn check_any(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Some(reply) = reply(bytes, &Names::new()) else { return Ok(()) };
    prop_assert!(reply.len() <= 512);
    prop_assert_eq!(&reply[..2], &bytes[..2]);
    prop_assert!(Message::from_vec(&reply).is_ok());
    Ok(())
}
