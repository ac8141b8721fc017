use proptest::prelude::*;

use super::*;

fn whole(head: &str) -> Result<Head, HeadError> {
    let mut unread = BytesMut::from(head);
    take(&mut unread, &mut Progress::default()).map(|head| head.expect("the head is whole"))
}

fn post(fields: &str) -> Result<Head, HeadError> {
    whole(&format!("POST / HTTP/1.1\r\n{fields}\r\n"))
}

#[test]
fn a_head_ends_where_it_ends_however_it_is_cut() {
    for text in [
        "POST /p?q HTTP/1.1\r\nA: 1\r\nContent-Length: 3\r\n\r\nabc",
        "POST /p?q HTTP/1.1\nA: 1\nContent-Length: 3\n\nabc",
        "\r\n\n\r\nPOST /p?q HTTP/1.1\r\na:1\r\ncontent-length:3\r\n\r\nabc",
    ] {
        for size in 1..text.len() {
            let mut unread = BytesMut::new();
            let mut progress = Progress::default();
            let mut heads = text.as_bytes().chunks(size).filter_map(|piece| {
                unread.extend_from_slice(piece);
                take(&mut unread, &mut progress).unwrap()
            });
            let head = heads.next().unwrap();
            assert!(heads.next().is_none());
            assert_eq!(head.request.uri(), "/p?q");
            assert_eq!(head.request.headers()["a"], "1");
            assert!(matches!(head.framing, Framing::Length(3)));
            assert!(b"abc".starts_with(&unread) || unread == "abc", "{unread:?}");
        }
    }
}

#[test]
fn the_end_of_a_body_is_known() {
    let framing = |fields: &str| post(fields).unwrap().framing;
    assert!(framing("").is_over());
    assert!(framing("content-length: 0\r\n").is_over());
    assert!(matches!(framing("content-length: 005\r\n"), Framing::Length(5)));
    let twice = "content-length: 5\r\ncontent-length: 5\r\n";
    assert!(matches!(framing(twice), Framing::Length(5)));
    let head = post(twice).unwrap();
    assert_eq!(head.request.headers().get_all("content-length").iter().count(), 1);
    for chunked in ["chunked", "Chunked"] {
        let fields = format!("transfer-encoding: {chunked}\r\n");
        assert!(matches!(framing(&fields), Framing::Chunked(_)), "{fields}");
    }
}

#[test]
fn no_other_coding_is_passed_on_under_the_name_of_chunked() {
    for codings in [
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "gzip\r\ntransfer-encoding: chunked",
        "chunked\r\ntransfer-encoding: gzip",
        "chunked\r\ntransfer-encoding: chunked",
        "identity",
        "",
    ] {
        let fields = format!("transfer-encoding: {codings}\r\n");
        assert_eq!(post(&fields).err(), Some(HeadError::Coding), "{fields}");
    }
}

#[test]
fn nothing_is_read_behind_a_body_of_two_lengths() {
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "transfer-encoding: chunked\r\ncontent-length: x\r\n",
    ] {
        let head = post(fields).unwrap();
        assert!(matches!(head.framing, Framing::Chunked(_)) && !head.keeps, "{fields}");
        assert!(!head.request.headers().contains_key("content-length"), "{fields}");
    }
}

#[test]
fn a_connection_is_kept_as_the_client_says() {
    let keeps = |version: &str, fields: &str| {
        whole(&format!("GET / HTTP/{version}\r\n{fields}\r\n")).unwrap().keeps
    };
    assert!(keeps("1.1", ""));
    assert!(keeps("1.1", "connection: x, keep-alive\r\n"));
    assert!(!keeps("1.1", "connection: x, Close\r\n"));
    assert!(!keeps("1.1", "connection: close\r\nconnection: keep-alive\r\n"));
    assert!(!keeps("1.0", ""));
    assert!(keeps("1.0", "connection: Keep-Alive\r\n"));
    assert!(!keeps("1.0", "connection: keep-alive\r\nconnection: close\r\n"));
}

#[test]
fn only_a_client_of_1_1_with_a_body_waits_for_100() {
    let expects = |line: &str, fields: &str| {
        whole(&format!("{line}\r\nExpect: 100-Continue\r\n{fields}\r\n")).unwrap().expects
    };
    assert!(expects("PUT / HTTP/1.1", "content-length: 1\r\n"));
    assert!(!expects("PUT / HTTP/1.1", ""));
    assert!(!expects("PUT / HTTP/1.0", "content-length: 1\r\n"));
}

#[test]
fn what_is_no_head_is_refused_before_its_end() {
    for (text, error) in [
        ("GE(T / HTTP/1.1\r\nhost", HeadError::Method),
        ("GET /\x7f", HeadError::Target),
        ("GET / HTTP/1.2\r\nhost", HeadError::Version),
        ("GET / HTTP/1.1\r\na b: c", HeadError::Field),
        ("GET / HTTP/1.1\r\na: \x01", HeadError::Field),
        ("\rGET / HTTP/1.1\r\n", HeadError::Field),
    ] {
        let taken = take(&mut BytesMut::from(text), &mut Progress::default());
        assert_eq!(taken.map(|head| head.is_some()), Err(error), "{text:?}");
    }
}

#[test]
fn heads_have_limits() {
    let many = |count: usize| post(&"a: 1\r\n".repeat(count)).map(|_| ());
    assert_eq!(many(MAX_HEADERS), Ok(()));
    assert_eq!(many(MAX_HEADERS + 1), Err(HeadError::TooLong));
    let target = |length: usize| {
        whole(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(length - 1))).map(|_| ())
    };
    assert_eq!(target(LONGEST_TARGET), Ok(()));
    assert_eq!(target(LONGEST_TARGET + 1), Err(HeadError::LongTarget));
    let long = |end: &str| {
        let text = format!("GET / HTTP/1.1\r\na: {}{end}", "x".repeat(LONGEST));
        take(&mut BytesMut::from(text.as_str()), &mut Progress::default()).map(|_| ())
    };
    assert_eq!(long(""), Err(HeadError::TooLong));
    assert_eq!(long("\r\n\r\n"), Err(HeadError::TooLong));
    let fits = format!("a: {}\r\n", "x".repeat(200_000));
    assert_eq!(post(&fits).unwrap().request.headers()["a"].len(), 200_000);
}

#[test]
fn heads_without_end_fill_no_memory() {
    let long = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(200_000));
    let begin = |held: &mut Vec<Progress>| {
        let mut progress = Progress::default();
        let taken = take(&mut BytesMut::from(long.as_str()), &mut progress);
        held.push(progress);
        taken.map(|head| assert!(head.is_none()))
    };
    let mut held = Vec::new();
    let first_refused = (0..1000).find(|_| begin(&mut held).is_err()).unwrap();
    assert!((300..400).contains(&first_refused), "{first_refused}");
    assert_eq!(begin(&mut held), Err(HeadError::Crowded));
    let short = &mut BytesMut::from("GET / HTTP/1.1\r\na: b");
    assert!(take(short, &mut Progress::default()).is_ok());
    held.truncate(1);
    assert_eq!(begin(&mut held), Ok(()));
}

proptest! {
    /// Whoever is told of a length reads so many bytes; nobody is told of two.
    #[test]
    fn framing_never_contradicts_what_is_passed_on(
        fields in prop::collection::vec(
            prop::sample::select(vec![
                "content-length: 5", "content-length: 6", "content-length: 05",
                "content-length: +5", "content-length: 5, 5", "content-length:",
                "transfer-encoding: chunked", "transfer-encoding: gzip",
                "transfer-encoding: gzip, chunked", "transfer-encoding: chunked, gzip",
                "transfer-encoding: xchunked", "transfer-encoding:", "x: y",
            ]),
            0..5,
        ),
    ) {
        let text: String = fields.iter().flat_map(|field| [*field, "\r\n"]).collect();
        if let Ok(head) = post(&text) {
            let headers = head.request.headers();
            let lengths: Vec<_> = headers.get_all("content-length").iter().collect();
            let told = lengths.first().map(|length| digits(length.as_bytes()).unwrap());
            match head.framing {
                Framing::Length(length) => prop_assert_eq!(told, Some(length)),
                Framing::Chunked(_) => prop_assert_eq!(told, None),
                Framing::Over => prop_assert!(told.is_none_or(|told| told == 0)),
                Framing::UntilClose => prop_assert!(false, "a request has an end"),
            }
            prop_assert!(lengths.len() <= 1);
        }
    }
}
