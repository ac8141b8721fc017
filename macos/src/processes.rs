//! What a command has started, without anything that holds it: by the numbers that XNU gives to
//! processes once and never again, of which each also has its parent's.
//!
//! A parent's number stays what it was when the parent ends (bsd/sys/proc_internal.h, `p_puniqueid`),
//! so an orphan is still known to be the command's. What was started by an orphan's child that has
//! ended before anybody looked is not.

use std::collections::BTreeSet;

/// A process that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id, which another may have after it.
    pub pid: i32,
    /// Its number, which no other ever has.
    pub unique: u64,
    /// The number of the process that started it.
    pub parent: u64,
}

/// A command and all that is known to have come from it.
#[derive(Clone, Debug)]
pub struct Family(BTreeSet<u64>);

impl Family {
    /// The command alone.
    pub fn new(command: u64) -> Self {
        Self(BTreeSet::from([command]))
    }

    /// Those among `seen` that belong to it. Who they are is remembered, for their children.
    pub fn members(&mut self, seen: &[Process]) -> Vec<Process> {
        loop {
            let known = self.0.len();
            let children = seen.iter().filter(|it| self.0.contains(&it.parent));
            let children: Vec<_> = children.map(|it| it.unique).collect();
            self.0.extend(children);
            if self.0.len() == known {
                break;
            }
        }
        seen.iter().filter(|it| self.0.contains(&it.unique)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(unique: u64, parent: u64) -> Process {
        Process { pid: i32::try_from(unique).unwrap() + 1000, unique, parent }
    }

    fn members(family: &mut Family, seen: &[Process]) -> Vec<u64> {
        family.members(seen).into_iter().map(|it| it.unique).collect()
    }

    #[test]
    fn children_of_children_belong_to_it_and_strangers_dont() {
        let mut family = Family::new(10);
        // In whatever order; 10 itself has ended.
        let seen = [process(13, 12), process(12, 11), process(11, 10), process(20, 1)];
        assert_eq!(members(&mut family, &seen), [13, 12, 11]);
    }

    #[test]
    fn what_was_seen_once_leads_to_its_children_later() {
        let mut family = Family::new(10);
        assert_eq!(members(&mut family, &[process(11, 10)]), [11]);
        assert_eq!(members(&mut family, &[process(12, 11), process(13, 99)]), [12]);
    }

    #[test]
    fn a_circle_comes_to_an_end() {
        let mut family = Family::new(10);
        assert_eq!(members(&mut family, &[process(10, 11), process(11, 10)]), [10, 11]);
    }
}
