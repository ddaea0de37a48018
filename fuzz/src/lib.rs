//! What the fuzz targets do with their input. The tests of `nat64-core` include the same files and run them over the
//! committed corpora.

#![forbid(unsafe_code)]

pub mod bodies;
