//! The guide and the README are true: their links lead somewhere, and what they show was run.
//!
//! A block of code says by its first line what it is: a session that needs no servers (`console`), one
//! that is run in a scene of its own (`run=ID`), a file that the document's commands use
//! (`file=NAME`), and so on; `blocks.rs` has the list.

mod blocks;
mod git;
mod links;
mod modes;
mod quick_start;
mod readme;
mod recipes;
mod records;
mod rules;
mod scene;
mod sessions;
mod troubleshooting;
mod workflow;
