//! The proxy as a whole, between clients and origins on loopback.

mod attempt;
mod connect;
mod events;
mod forms;
mod framing;
mod hang;
mod hello;
mod hosts;
mod identity;
mod interim;
mod lab;
mod limits;
mod origin;
mod plain;
mod refusals;
mod smuggling;
mod streams;
mod tickets;
mod tls;
mod unfinished;
mod via;
mod websocket;
mod whole;
mod wire;
