//! A server that speaks just enough of PostgreSQL's protocol for one client to ask it something.

use tokio::io::{AsyncReadExt, AsyncWriteExt, Result};
use tokio::net::TcpStream;

const START: u32 = 196_608;
const WANTS_TLS: u32 = 80_877_103;
const WANTS_GSS: u32 = 80_877_104;
/// More than a client of a test says at once.
const LONGEST: usize = 10_000;

/// Answers every query with one row, which holds the query.
pub(crate) async fn converse(mut client: TcpStream) -> Result<()> {
    loop {
        let start = message(&mut client).await?;
        match u32::from_be_bytes(start.get(..4).unwrap_or_default().try_into().unwrap_or_default())
        {
            WANTS_TLS | WANTS_GSS => client.write_all(b"N").await?,
            START => break,
            _ => return Ok(()),
        }
    }
    let mut greeting = tagged(b'R', &0_u32.to_be_bytes());
    for (name, value) in [("server_version", "15.0"), ("client_encoding", "UTF8")] {
        greeting.extend(tagged(b'S', format!("{name}\0{value}\0").as_bytes()));
    }
    greeting.extend(READY);
    client.write_all(&greeting).await?;
    while client.read_u8().await? == b'Q' {
        let query = message(&mut client).await?;
        let query = query.split(|byte| *byte == 0).next().unwrap_or_default();
        client.write_all(&row(query)).await?;
    }
    Ok(())
}

/// Nothing more to come; what next?
const READY: [u8; 6] = [b'Z', 0, 0, 0, 5, b'I'];

async fn message(client: &mut TcpStream) -> Result<Vec<u8>> {
    let length = client.read_u32().await? as usize;
    let mut message = vec![0; length.saturating_sub(4).min(LONGEST)];
    client.read_exact(&mut message).await?;
    Ok(message)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).expect("a short message");
    [&[tag], &length.to_be_bytes()[..], content].concat()
}

/// One column of text, one row with `text`, and the end.
fn row(text: &[u8]) -> Vec<u8> {
    let column = [&[0, 1][..], b"answer\0", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 25], &[255; 6], &[0, 0]];
    let length = u32::try_from(text.len()).expect("a short text").to_be_bytes();
    [
        tagged(b'T', &column.concat()),
        tagged(b'D', &[&[0, 1], &length[..], text].concat()),
        tagged(b'C', b"SELECT 1\0"),
        READY.to_vec(),
    ]
    .concat()
}
