//! The passwd database, through the C library: it knows the system's name services.

use std::{
    ffi::{CStr, CString},
    io,
    mem::MaybeUninit,
    ptr,
};

/// Grows the buffer for an entry up to here; a longer entry is damaged.
const LONGEST_ENTRY: usize = 1 << 20;

/// What is needed of a line of the database (passwd(5)).
pub(super) struct Entry {
    pub(super) uid: libc::uid_t,
    pub(super) gid: libc::gid_t,
    pub(super) name: CString,
    pub(super) home: CString,
    pub(super) shell: CString,
}

/// One of the reentrant calls of getpwnam(3), but for the key.
type Query<'a> = &'a dyn Fn(
    *mut libc::passwd,
    *mut libc::c_char,
    libc::size_t,
    *mut *mut libc::passwd,
) -> libc::c_int;

impl Entry {
    /// The entry with this id, or `None`.
    ///
    /// # Errors
    ///
    /// When the database doesn't answer.
    pub(super) fn by_uid(uid: libc::uid_t) -> io::Result<Option<Self>> {
        // SAFETY: `find` passes pointers that are valid for the call, and the buffer's length.
        Self::find(&|entry, start, length, found| unsafe {
            libc::getpwuid_r(uid, entry, start, length, found)
        })
    }

    /// The entry with this name, or `None`.
    ///
    /// # Errors
    ///
    /// When the database doesn't answer.
    pub(super) fn by_name(name: &CStr) -> io::Result<Option<Self>> {
        // SAFETY: as above; the name ends in a NUL.
        Self::find(&|entry, start, length, found| unsafe {
            libc::getpwnam_r(name.as_ptr(), entry, start, length, found)
        })
    }

    fn find(query: Query<'_>) -> io::Result<Option<Self>> {
        let mut buffer: Vec<libc::c_char> = vec![0; 1024];
        loop {
            let mut entry = MaybeUninit::<libc::passwd>::uninit();
            let mut found = ptr::null_mut();
            let result =
                query(entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found);
            match result {
                // How "no such user" is told differs: null alone, or one of these.
                0 | libc::ENOENT | libc::ESRCH if found.is_null() => return Ok(None),
                // SAFETY: a result that isn't null means that the entry was written, and that
                // its strings are in the buffer, which lives until they are copied.
                0 => return Ok(Some(unsafe { Self::copy(entry.assume_init_ref()) })),
                libc::ERANGE if buffer.len() < LONGEST_ENTRY => buffer.resize(buffer.len() * 2, 0),
                libc::EINTR => {}
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// # Safety
    ///
    /// The entry's pointers must be null or lead to NUL-terminated strings.
    unsafe fn copy(entry: &libc::passwd) -> Self {
        let text = |start: *const libc::c_char| match start.is_null() {
            true => CString::default(),
            // SAFETY: the caller keeps the promise.
            false => unsafe { CStr::from_ptr(start) }.to_owned(),
        };
        // passwd(5): an empty shell means /bin/sh.
        let shell = Some(text(entry.pw_shell)).filter(|shell| !shell.is_empty());
        Self {
            uid: entry.pw_uid,
            gid: entry.pw_gid,
            name: text(entry.pw_name),
            home: text(entry.pw_dir),
            shell: shell.unwrap_or_else(|| c"/bin/sh".into()),
        }
    }
}
