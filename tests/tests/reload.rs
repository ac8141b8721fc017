//! A rule's file that changes while the command runs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
};

use httpjail_tests::{Invocation, Lab, Running, USER_UID};

/// Asks once for each line that it reads.
const ASK: &str = "while read go; do
    curl -sS -o /dev/null -w '%{http_code} ' http://a.test/; echo $go; done";

/// A folder that root alone may write, with a rule in it.
fn rule_file(lab: &Lab, rule: &str) -> PathBuf {
    let folder = lab.ca_file().with_file_name("rules");
    fs::create_dir(&folder).expect("the lab's folder is writable");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("it is our own");
    let file = folder.join("rule.js");
    fs::write(&file, rule).expect("it is our own");
    file
}

fn jail<'a>(lab: &'a Lab, file: &PathBuf) -> Invocation<'a> {
    lab.jail().as_user().option("-v").option("--js-file").option(file)
}

fn ask(jail: &mut Running, word: &str) -> String {
    jail.write(&format!("{word}\n"));
    jail.line(word)
}

#[test]
fn the_next_request_is_judged_by_the_new_rule() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let file = rule_file(&lab, "false");
    let mut jail = jail(&lab, &file).start(["sh", "-c", ASK]);
    assert_eq!(ask(&mut jail, "at-first"), "403 at-first");

    // Written where it is.
    fs::write(&file, "r.host === 'a.test' // 1").expect("it is our own");
    jail.error_line("read anew");
    assert_eq!(ask(&mut jail, "written"), "200 written");

    // Replaced, as most editors do.
    let other = file.with_extension("new");
    fs::write(&other, "'not any more'").expect("it is our own");
    fs::rename(&other, &file).expect("it is our own");
    jail.error_line("read anew");
    assert_eq!(ask(&mut jail, "replaced"), "403 replaced");

    // What is no rule leaves the rule as it is.
    fs::write(&file, "r.host ===").expect("it is our own");
    let told = jail.error_line("stays as it is");
    assert!(told.contains("line 1"), "{told}");
    assert_eq!(ask(&mut jail, "broken"), "403 broken");

    fs::write(&file, "true").expect("it is our own");
    jail.error_line("read anew");
    assert_eq!(ask(&mut jail, "mended"), "200 mended");

    jail.close_stdin();
    let jailed = jail.finish().exits(0);
    assert_eq!(jailed.stderr.matches("stays as it is").count(), 1, "{jailed:?}");
    assert_eq!(a.seen().len(), 2);
    lab.assert_clean();
}

#[test]
fn a_rule_that_the_command_can_write_is_not_read_anew() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let file = rule_file(&lab, "false");
    let folder = file.parent().expect("it is in a folder").to_owned();
    for own in [&file, &folder] {
        fs::write(&file, "false").expect("it is our own");
        chown(own, Some(USER_UID), None).expect("root may");
        let write = "echo true > rule.js || { echo true > new && mv -f new rule.js; }";
        let mut jail = jail(&lab, &file).in_folder(&folder).start([
            "sh",
            "-c",
            &format!("{write}; echo tried; {ASK}"),
        ]);
        let told = jail.error_line("won't be taken up");
        assert!(told.contains(&format!("can write {},", own.display())), "{told}");
        jail.line("tried");
        assert_eq!(fs::read_to_string(&file).expect("it is our own"), "true\n");
        assert_eq!(ask(&mut jail, "changed"), "403 changed");
        jail.close_stdin();
        let jailed = jail.finish().exits(0);
        assert!(!jailed.stderr.contains("read anew"), "{jailed:?}");

        let strict = self::jail(&lab, &file).option("--strict").sh("echo ran").exits(125);
        assert_eq!(strict.stdout, "", "{strict:?}");
        assert!(strict.stderr.contains("the command can write"), "{strict:?}");
        chown(own, Some(0), None).expect("root may");
    }
    fs::remove_file(&file).expect("it is our own");
    fs::write(&file, "false").expect("it is our own");
    assert_eq!(jail(&lab, &file).option("--strict").sh("echo ran").exits(0).stdout, "ran\n");
    assert_eq!(a.seen().len(), 0);
    lab.assert_clean();
}
