//! Rules in JavaScript, judged by QuickJS. Only this module names the engine.
//!
//! `factory` checks a rule and makes engines · `engine` judges and keeps the budget · `sandbox`
//! is one runtime with the rule in it · `request` is the `r` that a rule sees, of objects that
//! `layout` makes · `compiled` runs the rule's bytecode · `verdict` reads what the rule answered ·
//! `object` reads and makes properties, running nothing · `console` brings the rule's `console` to
//! the log.

mod budget;
mod compiled;
mod console;
mod engine;
mod factory;
mod freeze;
mod layout;
mod object;
mod request;
mod sandbox;
mod verdict;

pub use factory::{Js, Replaced};

#[cfg(test)]
mod tests;
