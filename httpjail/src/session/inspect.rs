//! How the proxy learns what the kernel shows to a privileged process alone, or under paths that
//! the proxy can't reach: what a process of the jail runs, whose child it is, its arguments.
//!
//! The supervisor looks up where the program is, and opens two files of `/proc`. It reads neither:
//! what stands in them is shaped by the jailed program (its name, its arguments), and reading the
//! arguments of a process may wait for that process.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    sync::Mutex,
    time::Duration,
};

use super::control::Channel;
use crate::policy::{ProcessDetails, ProcessInspector};

/// How long the proxy waits for the supervisor to look a process up. The supervisor only reads
/// two files of `/proc`, neither of which a jailed program can hold up; a stopped one must not stop
/// decisions.
const TIMEOUT: Duration = Duration::from_millis(50);
/// The most bytes of a process's arguments that are read; what is longer is cut.
const MAX_ARGUMENTS: u64 = 64 * 1024;
/// `/proc/PID/stat` is one line of some fifty numbers, and a name.
const MAX_STAT: u64 = 4096;

/// The proxy's way to ask the supervisor about a process.
///
/// A question is a serial number, a pid, four bytes each, big-endian, and a byte of [`What`]. Its
/// answer is the same number, a byte of [`Found`], and the program's path if there is one; with it
/// come the process's `stat` and `cmdline`, open, where they were asked for.
#[derive(Debug)]
pub(super) struct RemoteInspector(Mutex<Line>);

#[derive(Debug)]
struct Line {
    channel: Channel,
    /// The last question's number: a late answer to an earlier question, which may have been
    /// about the same process, must not be taken for this one.
    serial: u32,
}

/// What is asked about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum What {
    /// Its program.
    Program,
    /// Its program, and the files that tell more.
    Details,
}

/// What came of a look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Found {
    /// It has ended, or isn't in the jail.
    Nothing,
    /// It runs this program.
    Program,
    /// It could not be found out.
    Failure,
}

/// What an answer says: the program, and the files that came with it.
type Answer = Option<(String, Vec<OwnedFd>)>;

impl What {
    fn read(byte: u8) -> Option<Self> {
        [Self::Program, Self::Details].into_iter().find(|it| *it as u8 == byte)
    }
}

impl Found {
    fn read(byte: u8) -> Option<Self> {
        [Self::Nothing, Self::Program, Self::Failure].into_iter().find(|it| *it as u8 == byte)
    }
}

impl RemoteInspector {
    /// Asks over `channel`.
    ///
    /// # Errors
    ///
    /// When the timeouts can't be set.
    pub(super) fn new(channel: Channel) -> io::Result<Self> {
        channel.set_timeout(TIMEOUT)?;
        Ok(Self(Mutex::new(Line { channel, serial: 0 })))
    }

    fn ask(&self, pid: u32, what: What) -> io::Result<Answer> {
        let gone = || io::Error::other("the supervisor doesn't answer");
        let mut line = self.0.lock().map_err(|_| gone())?;
        line.serial = line.serial.wrapping_add(1);
        let serial = line.serial.to_be_bytes();
        line.channel.send(&[&serial[..], &pid.to_be_bytes(), &[what as u8]].concat())?;
        loop {
            let (answer, files) = line.channel.receive_files()?;
            let (asked, answer) = answer.split_at_checked(4).ok_or_else(gone)?;
            let (found, path) = answer.split_first().ok_or_else(gone)?;
            if asked != serial {
                continue;
            }
            return match Found::read(*found) {
                Some(Found::Program) => {
                    Ok(Some((String::from_utf8_lossy(path).into_owned(), files)))
                }
                Some(Found::Nothing) => Ok(None),
                Some(Found::Failure) | None => {
                    Err(io::Error::other("the supervisor can't read what it is"))
                }
            };
        }
    }
}

impl ProcessInspector for RemoteInspector {
    fn executable(&self, pid: u32) -> io::Result<Option<String>> {
        Ok(self.ask(pid, What::Program)?.map(|(path, _)| path))
    }

    fn details(&self, pid: u32) -> io::Result<Option<ProcessDetails>> {
        let Some((exe, files)) = self.ask(pid, What::Details)? else { return Ok(None) };
        let unclear = || io::Error::other("what the kernel says of it isn't understood");
        let [stat, arguments] = <[OwnedFd; 2]>::try_from(files).map_err(|_| unclear())?;
        let (Some(stat), Some(arguments)) =
            (read(stat, MAX_STAT)?, read(arguments, MAX_ARGUMENTS)?)
        else {
            return Ok(None);
        };
        let ppid = parent(&stat).ok_or_else(unclear)?;
        Ok(Some(ProcessDetails { exe, ppid, argv: split(&arguments) }))
    }
}

/// The first `limit` bytes of a file of `/proc`; `None` if its process has ended.
fn read(file: OwnedFd, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::from(file).take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if has_ended(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The parent's id in a line of `stat`. The name before it, in parentheses, may hold anything.
fn parent(stat: &[u8]) -> Option<u32> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Arguments end in a NUL each; the last one may have been cut.
fn split(arguments: &[u8]) -> Vec<String> {
    if arguments.is_empty() {
        return Vec::new();
    }
    let arguments = arguments.strip_suffix(b"\0").unwrap_or(arguments);
    let text = |argument| String::from_utf8_lossy(argument).into_owned();
    arguments.split(|byte| *byte == 0).map(text).collect()
}

/// Answers one question of a [`RemoteInspector`]. `false`: the other side is gone.
///
/// The question holds three numbers and nothing else that the jailed program could have shaped.
/// Only processes of the jail are looked at, so a reused pid tells nothing.
pub(super) fn answer_inspection(channel: &Channel, in_jail: impl Fn(u32) -> bool) -> bool {
    let Ok(question) = channel.receive() else { return false };
    let Ok(question) = <[u8; 9]>::try_from(question.as_slice()) else { return false };
    let [s0, s1, s2, s3, p0, p1, p2, p3, what] = question;
    let Some(what) = What::read(what) else { return false };
    let (found, path, files) = look_up(u32::from_be_bytes([p0, p1, p2, p3]), what, in_jail);
    let mut answer = vec![s0, s1, s2, s3, found as u8];
    answer.extend_from_slice(path.as_os_str().as_bytes());
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    // A proxy that asks and doesn't read must not hold the supervisor up.
    channel.send_at_once(&answer, &files).is_ok()
}

/// Finds what a process of the jail is. The path is empty where there is none.
fn look_up(pid: u32, what: What, in_jail: impl Fn(u32) -> bool) -> (Found, PathBuf, Vec<File>) {
    let files = match what {
        What::Program => Ok(Vec::new()),
        // An open file of `/proc` stays that process's, whoever gets its number later.
        What::Details => ["stat", "cmdline"]
            .into_iter()
            .map(|file| File::open(format!("/proc/{pid}/{file}")))
            .collect(),
    };
    let path = std::fs::read_link(format!("/proc/{pid}/exe"));
    // Asked after the rest: a pid that another process took over in between isn't one of the jail.
    if !in_jail(pid) {
        return (Found::Nothing, PathBuf::new(), Vec::new());
    }
    match path.and_then(|path| files.map(|files| (path, files))) {
        Ok((path, files)) => (Found::Program, path, files),
        Err(error) if has_ended(&error) => (Found::Nothing, PathBuf::new(), Vec::new()),
        Err(error) => {
            tracing::debug!(pid, %error, "a process can't be looked at");
            (Found::Failure, PathBuf::new(), Vec::new())
        }
    }
}

/// A process that is gone has no entry in `/proc`, a dead one that nobody has waited for has no
/// program (`proc_exe_link` in fs/proc/base.c: `ENOENT`).
fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pid: u32) -> Found {
        look_up(pid, What::Details, |_| true).0
    }

    #[test]
    fn the_inspector_tells_the_program_of_a_process_in_the_jail_only() {
        let (ours, theirs) = Channel::pair().unwrap();
        let inspector = RemoteInspector::new(theirs).unwrap();
        let own = std::process::id();
        let served = std::thread::spawn(move || {
            assert!(answer_inspection(&ours, |pid| pid == own));
            assert!(answer_inspection(&ours, |_| false));
        });
        let exe = std::env::current_exe().unwrap();
        assert_eq!(inspector.executable(own).unwrap().as_deref(), exe.to_str());
        assert_eq!(inspector.executable(own).unwrap(), None);
        served.join().unwrap();
    }

    #[test]
    fn a_process_that_has_ended_has_no_program() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // It is dead, but its entry stays until someone waits for it.
        let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
        let options =
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(id, options).unwrap();
        assert_eq!(found(child.id()), Found::Nothing);
        child.wait().unwrap();
        assert_eq!(found(child.id()), Found::Nothing);
    }

    #[test]
    fn a_silent_supervisor_is_an_error_in_time() {
        let (_ours, theirs) = Channel::pair().unwrap();
        RemoteInspector::new(theirs).unwrap().executable(1).unwrap_err();
    }

    #[test]
    fn a_dead_supervisor_is_an_error() {
        let (ours, theirs) = Channel::pair().unwrap();
        let inspector = RemoteInspector::new(theirs).unwrap();
        drop(ours);
        inspector.executable(1).unwrap_err();
    }

    #[test]
    fn an_answer_that_says_nothing_known_is_an_error() {
        for answer in [&[0, 0, 0, 1][..], &[0, 0, 0, 1, 2], &[0, 0, 0, 1, 9, b'/'], &[1]] {
            let (ours, theirs) = Channel::pair().unwrap();
            let inspector = RemoteInspector::new(theirs).unwrap();
            ours.send(answer).unwrap();
            inspector.executable(1).unwrap_err();
        }
    }

    #[test]
    fn a_late_answer_is_not_taken_for_the_next_one() {
        let (ours, theirs) = Channel::pair().unwrap();
        let inspector = RemoteInspector::new(theirs).unwrap();
        inspector.executable(7).unwrap_err();
        ours.send(b"\0\0\0\x01\x01/late").unwrap();
        ours.send(b"\0\0\0\x02\x01/now").unwrap();
        assert_eq!(inspector.executable(7).unwrap().as_deref(), Some("/now"));
    }

    #[test]
    fn tells_parent_and_arguments_whatever_the_process_calls_itself() {
        use std::process::{Command, Stdio};
        let script = "printf ') Z 1 2 (' > /proc/$$/comm; echo; read line";
        let mut child = Command::new("sh")
            .args(["-c", script, "", "a b", "\u{fc}"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let inspector = RemoteInspector::new(theirs).unwrap();
        let served = std::thread::spawn(move || {
            assert!(answer_inspection(&ours, |_| true));
            assert!(answer_inspection(&ours, |_| false));
            assert!(answer_inspection(&ours, |_| true));
        });
        let details = inspector.details(child.id()).unwrap().unwrap();
        assert_eq!(details.ppid, std::process::id());
        assert_eq!(details.argv, ["sh", "-c", script, "", "a b", "ü"]);
        assert!(details.exe.starts_with('/'), "{details:?}");
        assert_eq!(inspector.details(child.id()).unwrap(), None);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(inspector.details(child.id()).unwrap(), None);
        served.join().unwrap();
    }

    #[test]
    fn reads_the_parent_behind_any_name() {
        for (stat, ppid) in [
            ("7 (sh) S 5 7 7", Some(5)),
            ("7 () S 5", Some(5)),
            ("7 (a) R 9 (b) S 5 7", Some(5)),
            ("7 (a)\n) S 5 7", Some(5)),
            ("7 (sh) S -5 7", None),
            ("7 (sh) S", None),
            ("7 sh S 5", None),
            ("", None),
        ] {
            assert_eq!(parent(stat.as_bytes()), ppid, "{stat:?}");
        }
        assert_eq!(parent(b"7 (\xff\xfe) S 5 7"), Some(5));
    }

    #[test]
    fn splits_arguments_at_their_ends() {
        for (bytes, argv) in [
            (&b""[..], &[][..]),
            (b"a\0", &["a"]),
            (b"a\0\0b\0", &["a", "", "b"]),
            (b"\0", &[""]),
            (b"a\0cu", &["a", "cu"]),
            (b"\xff\0", &["\u{fffd}"]),
        ] {
            assert_eq!(split(bytes), argv, "{bytes:?}");
        }
    }

    #[test]
    fn details_without_their_files_are_an_error() {
        let (ours, theirs) = Channel::pair().unwrap();
        let inspector = RemoteInspector::new(theirs).unwrap();
        ours.send(b"\0\0\0\x01\x01/bin/sh").unwrap();
        inspector.details(1).unwrap_err();
    }
}
