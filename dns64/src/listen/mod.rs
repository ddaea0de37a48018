//! The fronts: sockets that take queries and send answers.

mod bind;

pub(crate) use bind::{Listeners, bind};
