//! Devices of this machine that are open to jails besides the plain ones: the terminals that
//! commands have as standard streams, which programs open again as `/dev/stdout` and the like, and
//! what graphics drivers get numbers for as they are loaded.

use std::{
    fs,
    io::{self, IsTerminal},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
};

use httpjail_common::{gate, jail::DeviceKey};
use rustix::fs::{FileType, fstat, major, minor};

/// Graphics devices without numbers of their own.
const GRAPHICS: [&str; 4] = ["/dev/dxg", "/dev/kfd", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];

/// What there is now.
pub(crate) fn special() -> Vec<DeviceKey> {
    let streams = [terminal(&io::stdin()), terminal(&io::stdout()), terminal(&io::stderr())];
    let found = streams.into_iter().flatten().chain(GRAPHICS.into_iter().filter_map(graphics));
    found.filter(is_special).collect()
}

/// Pseudo-terminals, which nearly all are, are open anyway. Their numbers would fill the kernel
/// side's list, of which nothing is taken away again.
fn is_special(device: &DeviceKey) -> bool {
    !gate::is_plain_device(gate::CHARACTER_DEVICE, device.major, device.minor)
}

fn terminal(stream: &(impl AsFd + IsTerminal)) -> Option<DeviceKey> {
    let found = fstat(stream).ok().filter(|_| stream.is_terminal())?;
    let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
    is_device.then(|| key(found.st_rdev))
}

fn graphics(path: &str) -> Option<DeviceKey> {
    let found = fs::symlink_metadata(path).ok()?;
    found.file_type().is_char_device().then(|| key(found.rdev()))
}

fn key(device: u64) -> DeviceKey {
    DeviceKey { major: major(device), minor: minor(device) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_no_plain_devices() {
        let is_special = |major, minor| is_special(&DeviceKey { major, minor });
        assert!(is_special(4, 64) && is_special(5, 1));
        assert!(!is_special(136, 7) && !is_special(137, 0) && !is_special(5, 0));
    }

    #[test]
    fn knows_a_terminal_from_other_devices() {
        let open = |path: &str| fs::File::open(path).unwrap();
        assert_eq!(terminal(&open("/dev/ptmx")), Some(DeviceKey { major: 5, minor: 2 }));
        assert_eq!(terminal(&open("/dev/null")), None);
        assert_eq!(terminal(&open("/proc/self/stat")), None);
        assert_eq!(graphics("/dev/null"), Some(DeviceKey { major: 1, minor: 3 }));
        assert_eq!(graphics("/dev/fd"), None, "a link");
    }
}
