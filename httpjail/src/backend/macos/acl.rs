//! Access lists of files, which give rights beside owner, group and mode.

use std::{ffi::CString, os::unix::ffi::OsStrExt, path::Path, ptr};

use libc::{c_char, c_int, c_void};

/// `acl_type_t`, `acl_entry_id_t` and `acl_tag_t` of <sys/acl.h>.
const ACL_TYPE_EXTENDED: c_int = 0x100;
const ACL_FIRST_ENTRY: c_int = 0;
const ACL_NEXT_ENTRY: c_int = -1;
const ACL_EXTENDED_DENY: c_int = 2;

unsafe extern "C" {
    fn acl_get_file(path: *const c_char, kind: c_int) -> *mut c_void;
    fn acl_get_entry(list: *mut c_void, which: c_int, entry: *mut *mut c_void) -> c_int;
    fn acl_get_tag_type(entry: *mut c_void, tag: *mut c_int) -> c_int;
    fn acl_free(list: *mut c_void) -> c_int;
}

/// Whether a list gives rights to somebody. What can't be told counts as one that does. Lists that only
/// take rights, as those of the folders in everybody's home, give none.
pub(crate) fn gives_rights(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return true };
    // SAFETY: the path ends in NUL and outlives the call.
    let list = unsafe { acl_get_file(path.as_ptr(), ACL_TYPE_EXTENDED) };
    if list.is_null() {
        // acl_get(3): ENOENT where the file has none.
        return std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOENT);
    }
    let gives = has_allowing(list);
    // SAFETY: the list came from acl_get_file, and nothing refers to it any more.
    unsafe { acl_free(list) };
    gives
}

fn has_allowing(list: *mut c_void) -> bool {
    let mut which = ACL_FIRST_ENTRY;
    loop {
        let mut entry = ptr::null_mut();
        // SAFETY: the list is live, and the entry is written before it is read.
        if unsafe { acl_get_entry(list, which, &raw mut entry) } != 0 {
            return false;
        }
        let mut tag = 0;
        // SAFETY: the entry is one of the live list's.
        let asked = unsafe { acl_get_tag_type(entry, &raw mut tag) };
        if asked != 0 || tag != ACL_EXTENDED_DENY {
            return true;
        }
        which = ACL_NEXT_ENTRY;
    }
}
