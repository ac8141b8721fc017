//! The proxy as a whole, between clients and origins on loopback.

mod attempt;
mod forms;
mod framing;
mod hang;
mod hello;
mod hosts;
mod lab;
mod limits;
mod origin;
mod plain;
mod refusals;
mod smuggling;
mod streams;
mod tls;
mod unfinished;
mod wire;
