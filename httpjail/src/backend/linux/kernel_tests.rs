//! The programs on a real kernel: loaded, attached, armed, removed. The kernel suite in
//! `tests/` tries what they stop.

use httpjail_common::jail::Published;

use super::{
    Endpoints, JailId,
    cgroup::{CgroupDir, Hierarchy},
    parent::{self, Parent},
};

#[test]
fn a_parent_is_made_once_and_found_again() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root: cargo xtask test");
    std::fs::create_dir_all("/run/httpjail").unwrap();
    let hierarchy = Hierarchy::find().unwrap();
    let first = Parent::ensure(&hierarchy).unwrap();
    let again = Parent::ensure(&hierarchy).unwrap();
    assert_eq!(first.dir().id(), again.dir().id());

    let path = first.dir().path().join(format!("jail-test-{}", std::process::id()));
    let jail = CgroupDir::create(&path).unwrap();
    let id = JailId::of(&jail);
    assert!(!first.maps().is_armed(id).unwrap());
    let endpoints = Endpoints { proxy_v4: 1, proxy_v6: Some(2), dns_v4: 3, dns_v6: Some(4) };
    first.maps().arm(id, endpoints, Published::NONE).unwrap();
    assert!(again.maps().is_armed(id).unwrap(), "both see the same maps");
    first.maps().disarm(id).unwrap();
    assert!(!again.maps().is_armed(id).unwrap());
    jail.remove().unwrap();
    assert!(parent::all(&hierarchy).contains(&first.dir().path().to_owned()));
}
