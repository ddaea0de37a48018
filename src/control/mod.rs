//! The control API: HTTP with JSON over a unix socket. The daemon serves it, the other commands are its clients.
//!
//! | Path | Answer |
//! |---|---|
//! | `GET /v1/status` | [`api::Status`] |
//! | `GET /v1/sessions` | an array of [`api::Session`], one per line |
//! | `GET /v1/mappings` | an array of [`api::Mapping`], one per line |

pub(crate) mod api;
pub(crate) mod client;
mod listing;
pub(crate) mod server;
mod socket;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use socket::ControlSocket;
