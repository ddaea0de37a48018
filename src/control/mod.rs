//! The control API: HTTP with JSON over a unix socket. The daemon serves it, the other commands are its clients.
//!
//! | Path | Answer |
//! |---|---|
//! | `GET /v1/status` | [`api::Status`] |
//! | `GET /v1/sessions` | an array of [`api::Session`], one per line |
//! | `GET /v1/mappings` | an array of [`api::Mapping`], one per line |
//! | `GET /v1/subscribers` | an array of [`api::Subscriber`], one per line |
//! | `GET /v1/pool` | an array of [`api::PoolAddress`], one per line |
//! | `DELETE /v1/sessions?dry-run=&all=&reset=` | [`api::Closed`] |
//! | `GET /v1/trace` with a [`trace::TraceFilter`] | [`api::TracedPacket`]s as they come, one per line |
//! | `POST /v1/explain`, with a packet as body | [`api::PacketPreview`] |
//! | `POST /v1/reload?dry-run=` | [`api::Reloaded`] |
//! | `GET`, `POST`, `DELETE /v1/static?protocol=&external=&internal=` | an array of [`api::StaticEntry`] |
//! | `POST /v1/drain?address=`, `POST /v1/undrain?address=` | [`api::Draining`] |
//! | `GET /v1/top` | [`top::Top`] |
//! | `GET /v1/dns/explain?name=&type=&client=&listener=` | [`api::Explanation`] |
//! | `POST /v1/dns/flush?name=` | [`api::Flushed`] |
//! | `POST /v1/dns/drain?prefix=`, `POST /v1/dns/undrain?prefix=` | [`api::Drained`] |
//!
//! Whoever can connect may `GET`; everything else is for those whom a [`Guard`] admits.
//!
//! Listings of sessions and mappings, and the top, take a [`filter::Filter`] as query.

pub(crate) mod api;
pub(crate) mod change;
pub(crate) mod client;
mod dns;
pub(crate) mod filter;
#[cfg(test)]
pub(crate) mod flows;
pub(crate) mod health;
mod listing;
pub(crate) mod openapi;
mod peer;
mod preview;
pub(crate) mod rates;
#[cfg(test)]
mod scale_tests;
pub(crate) mod server;
mod socket;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod top;
pub(crate) mod trace;

pub(crate) use peer::Guard;
pub(crate) use socket::ControlSocket;
