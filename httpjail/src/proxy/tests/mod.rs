//! The proxy as a whole, between clients and origins on loopback.

mod attempt;
mod connect;
mod ech;
mod events;
mod forms;
mod framing;
mod hang;
mod hello;
mod hosts;
mod interim;
mod lab;
mod limits;
mod opaque;
mod origin;
mod passthrough;
mod plain;
mod refusals;
mod smuggling;
mod streams;
mod tls;
mod unfinished;
mod websocket;
mod whole;
mod wire;
