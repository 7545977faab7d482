//! A local TLS server that answers as OpenAI and Anthropic do, for the demo and the end-to-end tests.
//!
//! Enters: TLS connections of real clients on the loopback. Leaves: answers built from hand-written shapes, and a journal
//! of the plain bytes of every connection, which is what a tap must have seen. It never calls a vendor, never reads the
//! clock (so that equal requests get equal answers) and never holds a key that anybody trusts outside its own CA file.
//!
//! ```text
//! accept ─► tls (throw-away CA) ─► journal (byte exact) ─► server (HTTP/1.1, HTTP/2, WebSocket) ─► ask + control ─► answers/* ─► reply
//! ```

mod answers;
mod ask;
mod control;
mod journal;
mod models;
mod postgres;
mod realtime;
mod reply;
pub mod sandbox;
pub mod server;
mod tls;

pub use server::{Error, Options, Running, Server};

/// The names that the server answers for when none are given: two vendors and a host that is none.
pub const DEFAULT_NAMES: [&str; 3] = ["api.openai.com", "api.anthropic.com", "www.example.test"];
