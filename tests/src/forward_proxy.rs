//! A forward proxy as programs know it: absolute targets and CONNECT, and no opinion.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::addresses::CLIENT_V4;

const PORT: u16 = 3128;

/// Serves until the test's process ends, in the network namespace of the calling thread.
pub(crate) fn start() {
    let listener = TcpListener::bind((CLIENT_V4, PORT)).expect("the lab's own address is free");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || drop(serve(client)));
        }
    });
}

fn serve(mut client: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let (line, fields) = head.split_once("\r\n").unwrap_or_default();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let origin = if method == "CONNECT" {
        let origin = TcpStream::connect(target)?;
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        origin
    } else {
        let rest = target.strip_prefix("http://").unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let mut origin = TcpStream::connect(with_port)?;
        write!(origin, "{method} /{path} HTTP/1.1\r\n{fields}")?;
        origin
    };
    let mut answers = origin.try_clone()?;
    let down = thread::spawn(move || {
        let copied = io::copy(&mut answers, &mut client);
        drop(client.shutdown(Shutdown::Write));
        copied
    });
    copy_as_it_comes(&mut reader, &origin)?;
    origin.shutdown(Shutdown::Write)?;
    drop(down.join());
    Ok(())
}

/// A `BufReader` hands on what it holds before it reads again.
fn copy_as_it_comes(from: &mut impl Read, mut to: &TcpStream) -> io::Result<()> {
    io::copy(from, &mut to).map(drop)
}
