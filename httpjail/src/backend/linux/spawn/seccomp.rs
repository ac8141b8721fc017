//! The system calls that the jail's programs can't have, as a filter in classic BPF.
//!
//! It closes what no hook of a cgroup sees (other address families, io_uring's sockets, descriptors
//! out of other processes), what undoes the jail's view of files, and what types into the caller's
//! terminal. The parent makes the table, the child installs it.

use super::{
    child::check,
    error::{Failure, Step},
};

/// What is refused with EPERM whatever its arguments.
const REFUSED: [libc::c_long; 35] = [
    // Programs and maps of the kernel, its modules, and another kernel.
    libc::SYS_bpf,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_perf_event_open,
    // Rings make sockets out of this filter's sight.
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    // Descriptors and memory of other processes.
    libc::SYS_pidfd_getfd,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    // Files past the mounts, and other namespaces.
    libc::SYS_open_by_handle_at,
    libc::SYS_setns,
    // Keys are shared with the user's other sessions.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Mounts.
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_pivot_root,
    libc::SYS_umount2,
    // The whole machine's.
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    // A tool of exploits rather than of programs.
    libc::SYS_userfaultfd,
];
/// Linux 6.15, the same number on all machines.
const OPEN_TREE_ATTR: libc::c_long = 467;
/// `TIOCSTI` and `TIOCLINUX` type into the terminal that the jail shares with the caller's shell.
/// The kernel looks at the low 32 bits of the request.
const TYPING: [u32; 2] = [0x5412, 0x541c];
/// `SO_ATTACH_REUSEPORT_CBPF` and `SO_ATTACH_REUSEPORT_EBPF` (include/uapi/asm-generic/socket.h).
/// A program of the jail's own would choose, among all sockets of the user that share a port, who
/// gets a packet, after the cgroup's programs have judged it by another choice.
const STEERING: [u32; 2] = [51, 52];

/// `AUDIT_ARCH_*` (include/uapi/linux/audit.h) of the machine that this is built for.
#[cfg(target_arch = "x86_64")]
const MACHINE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const MACHINE: u32 = 0xc000_00b7;
/// Numbers from here on belong to another calling convention (x32) on x86-64; elsewhere there are
/// none.
const FOREIGN: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`; of an argument, the low half on little-endian machines.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT: [u32; 3] = [16, 24, 32];

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// The filter's table.
#[derive(Debug)]
pub(super) struct Filter(Vec<libc::sock_filter>);

impl Filter {
    pub(super) fn new() -> Self {
        let mut table = vec![
            step(LOAD, ARCHITECTURE),
            branch(IF_EQUAL, MACHINE, 1, 0),
            refuse(libc::ENOSYS),
            step(LOAD, NUMBER),
            branch(IF_AT_LEAST, FOREIGN, 0, 1),
            refuse(libc::ENOSYS),
        ];
        for call in REFUSED {
            push_call(&mut table, call, &[refuse(libc::EPERM)]);
        }
        // Its flags are out of a filter's sight, CLONE_INTO_CGROUP among them. The C libraries
        // go back to clone(2).
        push_call(&mut table, libc::SYS_clone3, &[refuse(libc::ENOSYS)]);
        push_call(&mut table, libc::SYS_socket, &sockets());
        push_call(&mut table, libc::SYS_ioctl, &requests());
        push_call(&mut table, libc::SYS_setsockopt, &socket_options());
        table.push(allow());
        Self(table)
    }

    /// Installs it for good. Needs CAP_SYS_ADMIN or no_new_privs. Async-signal-safe.
    pub(super) fn install(&self) -> Result<(), Failure> {
        let program = libc::sock_fprog {
            len: self.0.len() as libc::c_ushort,
            filter: self.0.as_ptr().cast_mut(),
        };
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        // SAFETY: the program's pointer and length are the table's; the kernel copies it.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0_u32, &raw const program) };
        check(Step::FilterCalls, result)
    }
}

/// What socket(2) may make: Unix, IP streams and datagrams (the cgroup's programs see to the
/// protocols), and netlink's routes, which the C library asks for addresses. Other protocols of
/// netlink answer as if the kernel lacked them: libaudit, in su and useradd, goes on only then.
fn sockets() -> [libc::sock_filter; 15] {
    [
        step(LOAD, ARGUMENT[0]),
        branch(IF_EQUAL, libc::AF_UNIX as u32, 12, 0),
        branch(IF_EQUAL, libc::AF_INET as u32, 3, 0),
        branch(IF_EQUAL, libc::AF_INET6 as u32, 2, 0),
        branch(IF_EQUAL, libc::AF_NETLINK as u32, 6, 0),
        refuse(libc::EAFNOSUPPORT),
        // IP. The type's upper bits are flags.
        step(LOAD, ARGUMENT[1]),
        step(AND, 0xf),
        branch(IF_EQUAL, libc::SOCK_STREAM as u32, 5, 0),
        branch(IF_EQUAL, libc::SOCK_DGRAM as u32, 4, 0),
        refuse(libc::EPERM),
        // Netlink.
        step(LOAD, ARGUMENT[2]),
        branch(IF_EQUAL, libc::NETLINK_ROUTE as u32, 1, 0),
        refuse(libc::EPROTONOSUPPORT),
        allow(),
    ]
}

/// What ioctl(2) may ask for.
fn requests() -> [libc::sock_filter; 5] {
    let [one, other] = TYPING;
    [
        step(LOAD, ARGUMENT[1]),
        branch(IF_EQUAL, one, 1, 0),
        branch(IF_EQUAL, other, 0, 1),
        refuse(libc::EPERM),
        allow(),
    ]
}

/// What setsockopt(2) may set.
fn socket_options() -> [libc::sock_filter; 7] {
    let [one, other] = STEERING;
    [
        step(LOAD, ARGUMENT[1]),
        branch(IF_EQUAL, libc::SOL_SOCKET as u32, 0, 4),
        step(LOAD, ARGUMENT[2]),
        branch(IF_EQUAL, one, 1, 0),
        branch(IF_EQUAL, other, 0, 1),
        refuse(libc::EPERM),
        allow(),
    ]
}

/// For this call, `answer`, which ends with a verdict; the accumulator holds the call's number.
fn push_call(table: &mut Vec<libc::sock_filter>, call: libc::c_long, answer: &[libc::sock_filter]) {
    let length = u8::try_from(answer.len()).expect("answers are shorter than a jump is wide");
    table.push(branch(IF_EQUAL, call as u32, 0, length));
    table.extend_from_slice(answer);
}

fn step(code: u32, k: u32) -> libc::sock_filter {
    branch(code, k, 0, 0)
}

/// A jump over `yes` or `no` steps.
fn branch(code: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: yes, jf: no, k }
}

fn refuse(errno: i32) -> libc::sock_filter {
    step(RETURN, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned())
}

fn allow() -> libc::sock_filter {
    step(RETURN, libc::SECCOMP_RET_ALLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call: 0, or the error's number.
    fn verdict(machine: u32, call: libc::c_long, arguments: [u64; 3]) -> i32 {
        let mut data = [0_u8; 64];
        data[0..4].copy_from_slice(&(call as u32).to_ne_bytes());
        data[4..8].copy_from_slice(&machine.to_ne_bytes());
        for (place, argument) in data[16..].chunks_mut(8).zip(arguments) {
            place.copy_from_slice(&argument.to_le_bytes());
        }
        let table = Filter::new().0;
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let step = table[at];
            at += 1;
            let k = step.k as usize;
            let holds = match u32::from(step.code) {
                RETURN if step.k == libc::SECCOMP_RET_ALLOW => return 0,
                RETURN => return (step.k & libc::SECCOMP_RET_DATA).cast_signed(),
                LOAD => {
                    value = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
                    continue;
                }
                AND => {
                    value &= step.k;
                    continue;
                }
                IF_EQUAL => value == step.k,
                IF_AT_LEAST => value >= step.k,
                code => panic!("no such step: {code}"),
            };
            at += usize::from(if holds { step.jt } else { step.jf });
        }
    }

    fn here(call: libc::c_long, arguments: [u64; 3]) -> i32 {
        verdict(MACHINE, call, arguments)
    }

    #[test]
    fn refuses_the_listed_calls_and_no_others() {
        for call in 0..=500 {
            let wanted = match call {
                libc::SYS_clone3 => libc::ENOSYS,
                // Of family 0, which is none.
                libc::SYS_socket => libc::EAFNOSUPPORT,
                _ if REFUSED.contains(&call) => libc::EPERM,
                _ => 0,
            };
            assert_eq!(here(call, [0; 3]), wanted, "call {call}");
        }
    }

    #[test]
    fn refuses_other_machines_calls() {
        assert_eq!(verdict(0x4000_0003, libc::SYS_read, [0; 3]), libc::ENOSYS, "i386");
        assert_eq!(here(i64::from(FOREIGN) + libc::SYS_read, [0; 3]), libc::ENOSYS, "x32");
        assert_eq!(here(-1, [0; 3]), libc::ENOSYS);
    }

    #[test]
    fn makes_only_sockets_that_can_be_guarded() {
        let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u64;
        let table = [
            (libc::AF_UNIX, libc::SOCK_STREAM, 0, 0),
            (libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, 0),
            (libc::AF_INET, libc::SOCK_STREAM, 6, 0),
            (libc::AF_INET6, libc::SOCK_DGRAM, 17, 0),
            (libc::AF_INET, libc::SOCK_RAW, 255, libc::EPERM),
            (libc::AF_INET6, libc::SOCK_SEQPACKET, 132, libc::EPERM),
            (libc::AF_INET, 10, 0, libc::EPERM),
            (libc::AF_NETLINK, libc::SOCK_RAW, 0, 0),
            (libc::AF_NETLINK, libc::SOCK_RAW, 9, libc::EPROTONOSUPPORT),
            (libc::AF_NETLINK, libc::SOCK_DGRAM, 16, libc::EPROTONOSUPPORT),
            (libc::AF_PACKET, libc::SOCK_RAW, 0, libc::EAFNOSUPPORT),
            (libc::AF_VSOCK, libc::SOCK_STREAM, 0, libc::EAFNOSUPPORT),
            (libc::AF_ALG, libc::SOCK_SEQPACKET, 0, libc::EAFNOSUPPORT),
        ];
        for (family, kind, protocol, wanted) in table {
            let arguments = [family as u64, kind as u64 | flags, protocol];
            assert_eq!(here(libc::SYS_socket, arguments), wanted, "{family} {kind} {protocol}");
        }
    }

    #[test]
    fn steers_no_packets_of_a_shared_port() {
        let option = |level: libc::c_int, option: u32| {
            here(libc::SYS_setsockopt, [3, level as u64, u64::from(option)])
        };
        for steering in STEERING {
            assert_eq!(option(libc::SOL_SOCKET, steering), libc::EPERM);
            assert_eq!(option(libc::IPPROTO_IPV6, steering), 0, "another level");
        }
        assert_eq!(option(libc::SOL_SOCKET, libc::SO_REUSEPORT as u32), 0);
        assert_eq!(option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER as u32), 0);
    }

    #[test]
    fn types_into_no_terminal() {
        for request in TYPING {
            for upper in [0, 1 << 32] {
                let arguments = [0, u64::from(request) | upper, 0];
                assert_eq!(here(libc::SYS_ioctl, arguments), libc::EPERM);
            }
        }
        assert_eq!(here(libc::SYS_ioctl, [0, libc::TIOCGWINSZ, 0]), 0);
        assert_eq!(here(libc::SYS_ioctl, [u64::from(TYPING[0]), 0, 0]), 0);
    }
}
