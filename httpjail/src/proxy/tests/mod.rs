//! The proxy as a whole, between clients and origins on loopback.

mod framing;
mod hang;
mod lab;
mod limits;
mod origin;
mod plain;
mod refusals;
mod streams;
mod tls;
mod wire;
