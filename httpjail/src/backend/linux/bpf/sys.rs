//! `bpf(2)`: one function a command, and the structs of `union bpf_attr` that they need
//! (include/uapi/linux/bpf.h). Nothing else in the program makes this system call.

use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

const MAP_CREATE: u32 = 0;
const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const MAP_GET_NEXT_KEY: u32 = 4;
const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_GET_FD_BY_ID: u32 = 13;
const MAP_GET_FD_BY_ID: u32 = 14;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const BTF_LOAD: u32 = 18;
const MAP_LOOKUP_AND_DELETE_ELEM: u32 = 21;

/// Other programs may be attached to the same cgroup.
const F_ALLOW_MULTI: u32 = 2;
/// Bytes of a program's or map's name, with its zero.
const NAME_LEN: usize = 16;
/// Room for the verifier's words on a refused program.
const LOG_SIZE: usize = 1 << 20;

/// What a map is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::backend::linux) struct MapSpec {
    pub(in crate::backend::linux) kind: u32,
    pub(in crate::backend::linux) key_size: u32,
    pub(in crate::backend::linux) value_size: u32,
    pub(in crate::backend::linux) max_entries: u32,
    pub(in crate::backend::linux) flags: u32,
    pub(in crate::backend::linux) key_type: u32,
    pub(in crate::backend::linux) value_type: u32,
}

/// What the kernel tells about a loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend::linux) struct ProgramInfo {
    /// Its number, not reused while the machine is up.
    pub(in crate::backend::linux) id: u32,
    /// The digest of its instructions.
    pub(in crate::backend::linux) tag: [u8; 8],
    /// The numbers of its maps.
    pub(in crate::backend::linux) maps: Vec<u32>,
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; NAME_LEN],
    ifindex: u32,
    btf_fd: u32,
    key_type: u32,
    value_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_LEN],
    ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct ProgAttach {
    target_fd: u32,
    program_fd: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ProgQuery {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct BtfLoad {
    btf: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    pad: u32,
}

/// The head of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgInfoHead {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_length: u32,
    translated_length: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    created_by: u32,
    map_count: u32,
    map_ids: u64,
}

/// The head of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfoHead {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    name: [u8; NAME_LEN],
}

/// Runs a command; `attribute` is one of the structs above.
fn bpf<T>(command: u32, attribute: &mut T) -> io::Result<i64> {
    // SAFETY: `attribute` is a live struct that begins like the command's part of
    // `union bpf_attr`, of the size that is passed; the pointers in it are to buffers that
    // outlive the call (each caller below keeps them on its frame).
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), mem::size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A command whose result is a descriptor. The kernel sets O_CLOEXEC on all of them.
fn bpf_fd<T>(command: u32, attribute: &mut T) -> io::Result<OwnedFd> {
    let fd = i32::try_from(bpf(command, attribute)?).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor as `bpf_attr` holds it.
fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T: ?Sized>(of: *const T) -> u64 {
    of.cast::<u8>() as u64
}

/// At most 15 bytes of a name.
fn name(text: &str) -> [u8; NAME_LEN] {
    let mut name = [0; NAME_LEN];
    for (to, from) in name.iter_mut().take(NAME_LEN - 1).zip(text.bytes()) {
        *to = from;
    }
    name
}

/// Loads an object's type information.
pub(in crate::backend::linux) fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let size = u32::try_from(btf.len()).map_err(io::Error::other)?;
    bpf_fd(BTF_LOAD, &mut BtfLoad { btf: address(btf.as_ptr()), size, ..BtfLoad::default() })
}

/// Makes a map; `btf` is needed where the spec names types.
pub(in crate::backend::linux) fn create_map(
    map: &str,
    spec: MapSpec,
    btf: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let mut attribute = MapCreate {
        kind: spec.kind,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        flags: spec.flags,
        name: name(map),
        ..MapCreate::default()
    };
    if let Some(btf) = btf {
        attribute.btf_fd = raw(btf);
        attribute.key_type = spec.key_type;
        attribute.value_type = spec.value_type;
    }
    bpf_fd(MAP_CREATE, &mut attribute)
}

/// Loads a program. `instructions` are whole 8-byte instructions.
///
/// # Errors
///
/// The kernel's error; the verifier's words are in the second part.
pub(in crate::backend::linux) fn load_program(
    program: &str,
    kind: u32,
    attach_type: u32,
    instructions: (*const u8, usize),
    license: &CStr,
) -> Result<OwnedFd, (io::Error, String)> {
    let (start, count) = instructions;
    let mut attribute = ProgLoad {
        kind,
        instruction_count: u32::try_from(count).unwrap_or(u32::MAX),
        instructions: address(start),
        license: address(license.as_ptr()),
        name: name(program),
        expected_attach_type: attach_type,
        ..ProgLoad::default()
    };
    if let Ok(fd) = bpf_fd(PROG_LOAD, &mut attribute) {
        return Ok(fd);
    }
    // Asked for only after a failure: writing the log takes longer than loading.
    let mut log = vec![0_u8; LOG_SIZE];
    attribute.log_level = 1;
    attribute.log_size = u32::try_from(log.len()).unwrap_or(u32::MAX);
    attribute.log = address(log.as_mut_ptr());
    bpf_fd(PROG_LOAD, &mut attribute).map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        log.truncate(end);
        (error, String::from_utf8_lossy(&log).into_owned())
    })
}

/// Attaches a program to a cgroup for as long as the cgroup lives, whoever dies.
pub(in crate::backend::linux) fn attach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<()> {
    let mut attribute = ProgAttach {
        target_fd: raw(cgroup),
        program_fd: raw(program),
        attach_type,
        flags: F_ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &mut attribute).map(drop)
}

/// The numbers of the programs that are attached to this very cgroup; at most eight are told.
pub(in crate::backend::linux) fn query(
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; 8];
    let mut attribute = ProgQuery {
        target_fd: raw(cgroup),
        attach_type,
        ids: address(ids.as_mut_ptr()),
        count: 8,
        ..ProgQuery::default()
    };
    bpf(PROG_QUERY, &mut attribute)?;
    ids.truncate(attribute.count as usize);
    Ok(ids)
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// A descriptor of the program with this number.
pub(in crate::backend::linux) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf_fd(PROG_GET_FD_BY_ID, &mut ById { id, ..ById::default() })
}

/// A descriptor of the map with this number.
pub(in crate::backend::linux) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf_fd(MAP_GET_FD_BY_ID, &mut ById { id, ..ById::default() })
}

/// What the kernel tells about a program.
pub(in crate::backend::linux) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let mut maps = vec![0_u32; 16];
    let mut head = ProgInfoHead {
        map_count: 16,
        map_ids: address(maps.as_mut_ptr()),
        ..ProgInfoHead::default()
    };
    info(program, &mut head)?;
    maps.truncate(head.map_count as usize);
    Ok(ProgramInfo { id: head.id, tag: head.tag, maps })
}

/// A map's name, as far as the kernel keeps it.
pub(in crate::backend::linux) fn map_name(map: BorrowedFd<'_>) -> io::Result<String> {
    let mut head = MapInfoHead::default();
    info(map, &mut head)?;
    let end = head.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_LEN);
    Ok(String::from_utf8_lossy(head.name.get(..end).unwrap_or_default()).into_owned())
}

fn info<T>(fd: BorrowedFd<'_>, head: &mut T) -> io::Result<()> {
    let mut attribute = InfoByFd {
        fd: raw(fd),
        length: u32::try_from(mem::size_of::<T>()).unwrap_or(0),
        info: address(std::ptr::from_mut(head)),
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attribute).map(drop)
}

/// Types that may lie in a map: plain integers without padding, any bytes valid.
///
/// # Safety
///
/// `repr(C)`, no padding, no invalid bit patterns, and the size that the map was made with.
pub(in crate::backend::linux) unsafe trait Plain:
    Copy + Default
{
}

// SAFETY: `httpjail_common::layout` asserts size and offsets of each; all fields are integers.
unsafe impl Plain for u64 {}
// SAFETY: one byte.
unsafe impl Plain for u8 {}
// SAFETY: a plain integer; the key of socket storage is a socket's descriptor.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for httpjail_common::flow::FlowKey {}
// SAFETY: as above.
unsafe impl Plain for httpjail_common::flow::FlowEntry {}
// SAFETY: as above.
unsafe impl Plain for httpjail_common::jail::JailEntry {}
// SAFETY: as above.
unsafe impl Plain for httpjail_common::jail::LocalKey {}
// SAFETY: as above.
unsafe impl Plain for httpjail_common::jail::DeviceKey {}
// SAFETY: as above.
unsafe impl Plain for httpjail_common::jail::Counters {}
// SAFETY: as above.
unsafe impl Plain for httpjail_common::event::RefusalKey {}
// SAFETY: as above.
unsafe impl Plain for httpjail_common::event::RefusalNote {}

/// Runs a command on one element. `Ok(false)`: the map holds no such key.
fn element<K: Plain, V: Plain>(
    command: u32,
    map: BorrowedFd<'_>,
    key: &K,
    value: Option<&mut V>,
) -> io::Result<bool> {
    let mut attribute = MapElement {
        map_fd: raw(map),
        key: address(std::ptr::from_ref(key)),
        value: value.map_or(0, |value| address(std::ptr::from_mut(value))),
        ..MapElement::default()
    };
    match bpf(command, &mut attribute) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The value of `key`.
pub(in crate::backend::linux) fn lookup<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    key: &K,
) -> io::Result<Option<V>> {
    let mut value = V::default();
    Ok(element(MAP_LOOKUP_ELEM, map, key, Some(&mut value))?.then_some(value))
}

/// Takes the value of `key` out (Linux 5.14 for hash maps).
pub(in crate::backend::linux) fn take<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    key: &K,
) -> io::Result<Option<V>> {
    let mut value = V::default();
    Ok(element(MAP_LOOKUP_AND_DELETE_ELEM, map, key, Some(&mut value))?.then_some(value))
}

/// Sets the value of `key`.
pub(in crate::backend::linux) fn update<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    key: &K,
    value: V,
) -> io::Result<()> {
    let mut value = value;
    element(MAP_UPDATE_ELEM, map, key, Some(&mut value)).map(drop)
}

/// Removes `key`; one that isn't there is no error.
pub(in crate::backend::linux) fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    element::<K, u8>(MAP_DELETE_ELEM, map, key, None).map(drop)
}

/// The key after `key`, or the first one.
pub(in crate::backend::linux) fn next_key<K: Plain>(
    map: BorrowedFd<'_>,
    key: Option<&K>,
) -> io::Result<Option<K>> {
    let mut next = K::default();
    let mut attribute = MapElement {
        map_fd: raw(map),
        key: key.map_or(0, |key| address(std::ptr::from_ref(key))),
        value: address(std::ptr::from_mut(&mut next)),
        ..MapElement::default()
    };
    match bpf(MAP_GET_NEXT_KEY, &mut attribute) {
        Ok(_) => Ok(Some(next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
