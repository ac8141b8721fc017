//! The system calls that no safe crate offers: the one file of this crate with `unsafe` in it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};

/// Gives the calling thread a network namespace of its own, and a mount namespace if asked for.
///
/// # Errors
/// As unshare(2).
pub fn unshare_namespaces(mounts: Mounts) -> io::Result<()> {
    let flags = match mounts {
        Mounts::Shared => libc::CLONE_NEWNET,
        Mounts::Private => libc::CLONE_NEWNET | libc::CLONE_NEWNS,
    };
    // SAFETY: neither flag detaches the descriptor table, which is what makes unshare(2) unsafe.
    check(unsafe { libc::unshare(flags) })
}

/// Whether a thread leaves the mount namespace of its process.
#[derive(Clone, Copy, Debug)]
pub enum Mounts {
    /// It stays.
    Shared,
    /// It gets a copy of its own.
    Private,
}

/// Gives the calling process a mount namespace of its own, and a cgroup namespace whose root is the
/// cgroup that it is in.
///
/// # Errors
/// As unshare(2).
pub fn unshare_cgroups() -> io::Result<()> {
    // SAFETY: neither flag detaches the descriptor table, which is what makes unshare(2) unsafe.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP | libc::CLONE_NEWNS) })
}

/// Answers the calling process's, and its children's, questions for Landlock as a kernel without it.
///
/// # Errors
/// As prctl(2).
pub fn take_landlock_away() -> io::Result<()> {
    let step = |code: u32, jt, k| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let answer = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut filter = [
        // The call's number is the first field of struct seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            libc::SYS_landlock_create_ruleset as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, answer),
    ];
    let program =
        libc::sock_fprog { len: filter.len() as libc::c_ushort, filter: filter.as_mut_ptr() };
    // SAFETY: the program's pointer and length are the filter's; the kernel copies it.
    check(unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    })
}

/// Landlock's version on this kernel; negative: there is none.
#[must_use]
pub fn landlock_version() -> i64 {
    const ASK: u32 = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: with this flag the call takes no memory.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, ASK) }
}

/// setsockopt(2) with a value that is spelt out in bytes.
///
/// # Errors
/// As setsockopt(2).
pub fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    })
}

/// connect(2) to an address that is spelt out in bytes.
///
/// # Errors
/// As connect(2).
pub fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    check(unsafe {
        libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as libc::socklen_t)
    })
}

/// sendmsg(2) to an address and with one control message that are spelt out in bytes.
///
/// # Errors
/// As sendmsg(2).
pub fn send_message(
    socket: BorrowedFd<'_>,
    payload: &[u8],
    address: &[u8],
    control: Option<&Control<'_>>,
    flags: i32,
) -> io::Result<()> {
    let mut part =
        libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let mut buffer = ControlBuffer([0; CONTROL_SPACE]);
    // SAFETY: msghdr is plain data, for which all zeroes is "nothing".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = address.as_ptr().cast_mut().cast();
    message.msg_namelen = address.len() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(control) = control {
        message.msg_control = (&raw mut buffer).cast();
        message.msg_controllen = buffer.fill(control);
    }
    // SAFETY: every pointer in `message` is to a local or a parameter that outlives the call, with
    // its own length, and the kernel writes through none of them.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) } as i32)
}

/// A control message of sendmsg(2).
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    /// The protocol that it is for.
    pub level: i32,
    /// Its kind.
    pub kind: i32,
    /// What it says.
    pub data: &'a [u8],
}

const CONTROL_SPACE: usize = 64;

#[repr(C, align(8))]
struct ControlBuffer([u8; CONTROL_SPACE]);

impl ControlBuffer {
    /// Lays out a cmsghdr (length, level, kind, all native) and its data; returns the bytes used.
    fn fill(&mut self, control: &Control<'_>) -> usize {
        let head = size_of::<libc::cmsghdr>();
        let length = head + control.data.len();
        assert!(length <= CONTROL_SPACE, "a control message of {length} bytes");
        let word = size_of::<usize>();
        self.0[..word].copy_from_slice(&length.to_ne_bytes());
        self.0[word..word + 4].copy_from_slice(&control.level.to_ne_bytes());
        self.0[word + 4..word + 8].copy_from_slice(&control.kind.to_ne_bytes());
        self.0[head..length].copy_from_slice(control.data);
        length
    }
}

/// The number of an interface.
///
/// # Errors
/// When there is none of that name.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: the string ends in a nul and outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// connect(2) by io_uring.
///
/// # Errors
/// As connect(2).
pub fn ring_connect(ring: &mut IoUring, socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    let length = address.len() as libc::socklen_t;
    let entry = opcode::Connect::new(Fd(socket.as_raw_fd()), address.as_ptr().cast(), length);
    // SAFETY: `address` and the socket outlive the call, at whose end the operation is complete.
    unsafe { complete(ring, &entry.build()) }
}

/// send(2) by io_uring.
///
/// # Errors
/// As send(2).
pub fn ring_send(ring: &mut IoUring, socket: BorrowedFd<'_>, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let entry = opcode::Send::new(Fd(socket.as_raw_fd()), payload.as_ptr(), length);
    // SAFETY: `payload` and the socket outlive the call, at whose end the operation is complete.
    unsafe { complete(ring, &entry.build()) }
}

/// Does one operation and waits for it.
///
/// # Safety
/// What the entry points to has to be valid until this returns.
unsafe fn complete(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: the caller vouches for the entry.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let result = ring.completion().next().map(|completed| completed.result());
    match result {
        Some(error) if error < 0 => Err(io::Error::from_raw_os_error(-error)),
        Some(_) => Ok(()),
        None => Err(io::Error::other("nothing was completed")),
    }
}

/// Puts a key into a terminal's input, as if it had been typed.
///
/// # Errors
/// As ioctl(2).
pub fn type_key(terminal: BorrowedFd<'_>, key: u8) -> io::Result<()> {
    // SAFETY: TIOCSTI reads the one byte, which outlives the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, &raw const key) })
}

/// Has a child born in a cgroup by clone3(2), and waits for its end, which is at once.
///
/// # Errors
/// As clone3(2).
pub fn clone_into(cgroup: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: clone_args is plain data, for which all zeroes is "nothing".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = cgroup.as_raw_fd() as u64;
    let size = size_of::<libc::clone_args>();
    // SAFETY: the pointer and the size are the structure's; without a stack of its own the child
    // goes on as after fork(2), and does nothing but end.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) };
    if child == 0 {
        // SAFETY: it never returns, and runs nothing of this process.
        unsafe { libc::_exit(0) }
    }
    check(child as i32)?;
    // SAFETY: no status is asked for.
    check(unsafe { libc::waitpid(child as libc::pid_t, std::ptr::null_mut(), 0) })
}

/// Asks bpf(2) for the number of the first program that is loaded.
///
/// # Errors
/// As bpf(2).
pub fn first_program() -> io::Result<u32> {
    const PROG_GET_NEXT_ID: libc::c_long = 11;
    // The number to start from, the next one, flags.
    let mut attributes = [0_u32; 3];
    let (pointer, size) = (attributes.as_mut_ptr(), size_of_val(&attributes));
    // SAFETY: the pointer and the size are those of `attributes`, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_GET_NEXT_ID, pointer, size) } as i32)?;
    Ok(attributes[1])
}

/// Above the 32 bits of libc's constants.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// socket(2) by the system calls of i386, as a 32-bit program would make it; the socket is left to
/// the end of the process.
///
/// # Errors
/// As socket(2).
#[cfg(target_arch = "x86_64")]
pub fn foreign_socket(family: i32, kind: i32) -> io::Result<()> {
    const SOCKET: i64 = 359;
    let mut result = SOCKET;
    // SAFETY: the call reads its three numbers and touches no memory of this process. The compiler
    // keeps rbx to itself, so it is put back; the kernel may change r8 to r11 on this way in.
    unsafe {
        std::arch::asm!(
            "xchg {family:r}, rbx",
            "int 0x80",
            "xchg {family:r}, rbx",
            family = inout(reg) i64::from(family) => _,
            inout("rax") result,
            in("rcx") i64::from(kind),
            in("rdx") 0_i64,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    match result as i32 {
        error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
        _ => Ok(()),
    }
}

/// There are no such calls on other machines.
///
/// # Errors
/// Always.
#[cfg(not(target_arch = "x86_64"))]
pub fn foreign_socket(_: i32, _: i32) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
