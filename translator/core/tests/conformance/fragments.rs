//! RFC 6146 §3.4: fragments, in whatever order and shape they come.

mod bounds;
mod losses;
mod orders;
