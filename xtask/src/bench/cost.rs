//! What a sample's stack says of the work that was done.

use std::fmt;

/// One function of a stack.
#[derive(PartialEq, Debug)]
pub(super) struct Frame {
    is_kernel: bool,
    symbol: String,
}

/// A kind of work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Cost {
    /// The kernel takes bytes from the process, up to where the other side has them.
    Send,
    /// The kernel gives bytes to the process.
    Receive,
    /// Bytes go from socket to socket.
    Splice,
    /// The kernel tells which sockets are ready, or changes to another process meanwhile.
    Wait,
    /// Connections are opened, accepted, closed, and their options set.
    Connect,
    /// Memory is mapped, or comes when it is touched.
    Memory,
    /// Programs are loaded into the kernel, maps and cgroups changed.
    Guard,
    /// Processes, namespaces and mounts are made, and end.
    Process,
    /// Files.
    File,
    /// Other work of the kernel.
    Kernel,
    /// Cryptography, and TLS around it.
    Tls,
    /// The rule.
    Rule,
    /// Reading and writing of HTTP/2.
    Http2,
    /// Reading and writing of HTTP/1.
    Http1,
    /// Copying of bytes.
    Copy,
    /// The allocator.
    Allocate,
    /// The runtime: which task goes on.
    Schedule,
    /// httpjail's own code, and what it has of libraries besides.
    Own,
}

impl Frame {
    /// Reads an address and a symbol.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (address, symbol) = line.trim().split_once(' ')?;
        let is_kernel = address.len() == 16 && address.starts_with("ffff");
        Some(Self { is_kernel, symbol: symbol.trim().to_owned() })
    }
}

impl Cost {
    /// The work that a stack, from its innermost frame on, was taken at.
    pub(super) fn of(frames: &[Frame]) -> Self {
        if frames.first().is_some_and(|frame| frame.is_kernel) {
            return Self::of_kernel(frames);
        }
        // Without frame pointers only the innermost frames are sure.
        let named = |frame: &Frame| Self::named(USER, &frame.symbol);
        frames.iter().find_map(named).unwrap_or(Self::Own)
    }

    fn of_kernel(frames: &[Frame]) -> Self {
        let outside = frames.iter().position(|frame| !frame.is_kernel).unwrap_or(frames.len());
        let (kernel, program) = frames.split_at(outside);
        let fault = kernel.iter().find_map(|frame| Self::named(FAULTS, &frame.symbol));
        // The call that was made stands outermost.
        let mut calls = kernel.iter().chain(program.first()).rev();
        let call = calls.find_map(|frame| Self::named(CALLS, &frame.symbol));
        fault.or(call).unwrap_or(Self::Kernel)
    }

    fn named(table: &[(&[&str], Self)], symbol: &str) -> Option<Self> {
        let fits = |(names, _): &&(&[&str], Self)| names.iter().any(|name| symbol.contains(name));
        table.iter().find(fits).map(|(_, cost)| *cost)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Send => "kernel: sending",
            Self::Receive => "kernel: receiving",
            Self::Splice => "kernel: splicing",
            Self::Wait => "kernel: waiting",
            Self::Connect => "kernel: connecting, closing",
            Self::Memory => "kernel: memory",
            Self::Guard => "kernel: guards",
            Self::Process => "kernel: processes, mounts",
            Self::File => "kernel: files",
            Self::Kernel => "kernel: other",
            Self::Tls => "TLS",
            Self::Rule => "rule (QuickJS)",
            Self::Http2 => "HTTP/2",
            Self::Http1 => "HTTP/1",
            Self::Copy => "copying",
            Self::Allocate => "allocating",
            Self::Schedule => "scheduling (tokio)",
            Self::Own => "httpjail itself",
        })
    }
}

const FAULTS: &[(&[&str], Cost)] = &[(&["exc_page_fault"], Cost::Memory)];

/// By system calls, or by the function of libc where the kernel's has no frame.
const CALLS: &[(&[&str], Cost)] = &[
    (&["sys_send", "libc_send", "writev", "sock_write_iter"], Cost::Send),
    (&["sys_recv", "libc_recv", "readv", "sock_read_iter"], Cost::Receive),
    (&["splice", "sys_tee", "sys_pipe"], Cost::Splice),
    (&["epoll", "futex", "sys_poll", "sys_ppoll", "nanosleep"], Cost::Wait),
    (
        &["connect", "accept", "close", "shutdown", "socket", "sockopt", "sockname", "peername"],
        Cost::Connect,
    ),
    (&["task_work_run", "sys_bind", "sys_listen"], Cost::Connect),
    (&["mmap", "munmap", "sys_brk", "mprotect", "madvise", "mremap"], Cost::Memory),
    (&["sys_bpf", "landlock", "seccomp"], Cost::Guard),
    (&["clone", "fork", "exec", "exit_group", "do_exit", "sys_wait", "sys_kill"], Cost::Process),
    (&["mount", "sys_open_tree", "sys_fs", "unshare", "setns", "pivot_root"], Cost::Process),
    (&["sys_read", "sys_write", "sys_open", "sys_stat", "sys_newfstat", "sys_newstat"], Cost::File),
    (&["statx", "mkdir", "rmdir", "unlink", "getdents", "rename", "chown", "chmod"], Cost::File),
    (&["sys_pread", "sys_pwrite", "sys_lseek", "access", "readlink", "fcntl", "flock"], Cost::File),
];

/// By functions of programs and their libraries.
const USER: &[(&[&str], Cost)] = &[
    (&["memmove", "memcpy", "memset", "memcmp", "copy_nonoverlapping"], Cost::Copy),
    (&["malloc", "free", "calloc", "realloc", "rust_alloc", "rust_dealloc"], Cost::Allocate),
    (
        &[
            "aws_lc",
            "rustls",
            "aesni",
            "gcm",
            "ghash",
            "sha256",
            "sha512",
            "x25519",
            "ecp_",
            "ecdsa",
            "bignum_",
            "p256",
            "p384",
            "mlkem",
            "chacha",
            "poly1305",
            "webpki",
            "rcgen",
            "ring::",
            "curve25519",
            "hkdf",
            "Bulk",
        ],
        Cost::Tls,
    ),
    (&["JS_", "js_", "lre_", "__js", "rquickjs", "quickjs"], Cost::Rule),
    (&["h2::", "hpack", "http2"], Cost::Http2),
    (&["httparse", "hyper", "http1", "httpjail::proxy::serve", "httpjail::streams"], Cost::Http1),
    (&["tokio", "mio::"], Cost::Schedule),
    (&["httpjail"], Cost::Own),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(lines: &[&str]) -> Cost {
        Cost::of(&lines.iter().filter_map(|line| Frame::parse(line)).collect::<Vec<_>>())
    }

    #[test]
    fn the_kernels_work_is_told_by_the_call() {
        let receiver = "ffffffff81a0 tcp_v4_rcv";
        assert_eq!(cost(&["  ffffffff81000000 tcp_v4_rcv"]), Cost::Kernel);
        assert_eq!(
            cost(&[
                "  ffffffff81000000 tcp_v4_rcv",
                "  ffffffff81000001 __x64_sys_sendto",
                "  ffffffff81000002 do_syscall_64",
                "            55d0 send",
            ]),
            Cost::Send
        );
        let without_its_frame = ["  ffffffff81000000 do_syscall_64", "  7f00 __GI___writev"];
        assert_eq!(cost(&without_its_frame), Cost::Send);
        assert_eq!(Frame::parse(receiver).map(|frame| frame.is_kernel), Some(false));
    }

    #[test]
    fn a_fault_within_a_call_is_memory() {
        let stack = [
            "  ffffffff81000000 clear_page_erms",
            "  ffffffff81000001 exc_page_fault",
            "  ffffffff81000002 __x64_sys_recvfrom",
        ];
        assert_eq!(cost(&stack), Cost::Memory);
    }

    #[test]
    fn the_programs_work_is_told_by_the_innermost_name() {
        assert_eq!(cost(&["  7f00 __memmove_avx512_unaligned_erms", "  55 rustls::x"]), Cost::Copy);
        assert_eq!(cost(&["  55 [unknown]", "  56 aws_lc_0_47_0_aes_gcm_enc"]), Cost::Tls);
        assert_eq!(cost(&["  55 JS_CallInternal"]), Cost::Rule);
        assert_eq!(cost(&["  55 [unknown]"]), Cost::Own);
    }
}
