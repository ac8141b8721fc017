//! The conversation with nf_tables: questions with their answers, and batches.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use nftnl::{Batch, MsgType, NlMsg, ProtoFamily};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::sockopt::{Timeout, set_socket_timeout},
};

use super::attributes::{Attributes, push_text};

/// `struct nlmsghdr` and, behind it, `struct nfgenmsg`.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// The port id of the kernel itself.
const KERNEL_PORT: u32 = 0;

/// The kernel answers before `send` returns; this only keeps a surprise from lasting forever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions are numbered from here, apart from the messages of batches, which count from 1.
const FIRST_QUESTION: u32 = 1 << 20;

/// A netlink socket to nf_tables of the thread's network namespace.
pub(super) struct Netlink {
    socket: mnl::Socket,
    question: u32,
    buffer: Box<Buffer>,
}

/// What one `recv` may fill: the kernel sends at most 32 KiB at once. Aligned for `nlmsghdr`.
#[repr(C, align(8))]
struct Buffer([u8; 32 * 1024]);

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question<'a> {
    /// One table.
    Table(&'a CStr),
    /// One chain of a table.
    Chain(&'a CStr, &'a CStr),
    /// All rules of a chain of a table.
    Rules(&'a CStr, &'a CStr),
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = mnl::Socket::new(mnl::Bus::Netfilter)?;
        // SAFETY: the socket stays open for longer than the borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        fcntl_setfd(fd, FdFlags::CLOEXEC)?;
        set_socket_timeout(fd, Timeout::Recv, Some(PATIENCE))?;
        let buffer = Box::new(Buffer([0; 32 * 1024]));
        Ok(Self { socket, question: FIRST_QUESTION, buffer })
    }

    /// Asks, and gives the attributes of each object of the answer to `object`.
    ///
    /// # Errors
    ///
    /// What the kernel says: `ENOENT` when there is no such table or chain.
    pub(super) fn ask(
        &mut self,
        question: Question<'_>,
        mut object: impl FnMut(Attributes<'_>),
    ) -> io::Result<()> {
        self.question += 1;
        self.socket.send(&question.message(self.question))?;
        loop {
            for message in self.socket.recv(&mut self.buffer.0)? {
                match Answer::read(message?, self.question)? {
                    Answer::Object(attributes) => object(attributes),
                    Answer::End => return Ok(()),
                    Answer::Other(_) => {}
                }
            }
        }
    }

    /// Has the kernel carry a batch out, wholly or not at all.
    ///
    /// # Errors
    ///
    /// The first error that the kernel names.
    pub(super) fn execute(&mut self, changes: Changes) -> io::Result<()> {
        let Changes { batch, count } = changes;
        let batch = batch.finalize();
        // From Linux 6.10 on, nftnl has the two messages around the batch acknowledged, too.
        // The kernel reports a failed commit before it acknowledges anything, so all is done
        // when the last message between them is acknowledged.
        let numbers = batch.sequence_numbers();
        let framed = numbers.len() == count + 2;
        let last = numbers.end - 1 - u32::from(framed);
        self.socket.send_all(&batch)?;
        loop {
            for message in self.socket.recv(&mut self.buffer.0)? {
                match Answer::read(message?, last)? {
                    Answer::End => return Ok(()),
                    Answer::Other(outcome) => outcome?,
                    Answer::Object(_) => {}
                }
            }
        }
    }
}

/// Changes to be made together.
pub(super) struct Changes {
    batch: Batch,
    count: usize,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self { batch: Batch::new(), count: 0 }
    }

    pub(super) fn add(&mut self, object: &impl NlMsg) {
        self.batch.add(object, MsgType::Add);
        self.count += 1;
    }

    pub(super) fn delete(&mut self, object: &impl NlMsg) {
        self.batch.add(object, MsgType::Del);
        self.count += 1;
    }
}

impl Question<'_> {
    fn message(self, number: u32) -> Vec<u8> {
        // include/uapi/linux/netfilter/nf_tables.h: the table is attribute 1 of all three, its
        // own name included; the chain is attribute 3 of a chain and 2 of a rule.
        let (kind, flags, names) = match self {
            Self::Table(table) => {
                (libc::NFT_MSG_GETTABLE, libc::NLM_F_ACK, [Some((1, table)), None])
            }
            Self::Chain(table, chain) => {
                (libc::NFT_MSG_GETCHAIN, libc::NLM_F_ACK, [Some((1, table)), Some((3, chain))])
            }
            Self::Rules(table, chain) => {
                (libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP, [Some((1, table)), Some((2, chain))])
            }
        };
        let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        let mut body = vec![ProtoFamily::Inet as u8, libc::NFNETLINK_V0 as u8, 0, 0];
        for (attribute, name) in names.into_iter().flatten() {
            push_text(&mut body, attribute, name);
        }
        let length = u32::try_from(HEADER + body.len()).expect("our names are short");
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend_from_slice(&length.to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&number.to_ne_bytes());
        message.extend_from_slice(&KERNEL_PORT.to_ne_bytes());
        message.append(&mut body);
        message
    }
}

/// One message of the kernel.
enum Answer<'a> {
    /// Part of the answer to the question.
    Object(Attributes<'a>),
    /// The answer is complete.
    End,
    /// The outcome of another message.
    Other(io::Result<()>),
}

impl<'a> Answer<'a> {
    /// Reads one message. An error that the kernel reports for the message of this number is
    /// this function's.
    fn read(message: &'a [u8], number: u32) -> io::Result<Self> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let kind = i32::from(field(message, 4).map(u16::from_ne_bytes).ok_or_else(malformed)?);
        let flags = i32::from(field(message, 6).map(u16::from_ne_bytes).ok_or_else(malformed)?);
        let ours = field(message, 8).map(u32::from_ne_bytes).ok_or_else(malformed)? == number;
        // A dump that others' changes cut through may have holes.
        if ours && flags & libc::NLM_F_DUMP_INTR != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if kind == libc::NLMSG_ERROR || kind == libc::NLMSG_DONE {
            let outcome =
                match field(message, HEADER).map(i32::from_ne_bytes).ok_or_else(malformed)? {
                    0 => Ok(()),
                    errno => Err(io::Error::from_raw_os_error(errno.wrapping_neg())),
                };
            return if ours { outcome.map(|()| Self::End) } else { Ok(Self::Other(outcome)) };
        }
        let attributes = message.get(HEADER + FAMILY_HEADER..).ok_or_else(malformed)?;
        Ok(if ours { Self::Object(Attributes::new(attributes)) } else { Self::Other(Ok(())) })
    }
}

fn field<const N: usize>(message: &[u8], at: usize) -> Option<[u8; N]> {
    message.get(at..)?.first_chunk().copied()
}
