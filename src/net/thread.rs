//! The thread that speaks to the kernel for those who change the network: rtnetlink asks the thread that sends a request for
//! `CAP_NET_ADMIN`, which the threads of the async runtime do not have.

use std::io;
use std::sync::OnceLock;
use std::thread;

use tokio::runtime::{Builder, Handle};

use crate::privileges;

/// The runtime of that thread, which the first call makes. It has the capabilities of the thread that called first.
pub(super) fn handle() -> io::Result<Handle> {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("nat64-network".to_owned()).spawn(move || {
        privileges::keep_network_only();
        runtime.block_on(std::future::pending::<()>());
    })?;
    // Two first calls at once make two threads, either of which serves.
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// Runs questions to the kernel to their end, on a thread and runtime of their own: whoever asks may be on a runtime or not.
pub(super) fn ask<T: Send, F: Future<Output = T>>(questions: impl FnOnce() -> F + Send) -> io::Result<T> {
    let inside = || {
        privileges::give_up_all();
        Ok(Builder::new_current_thread().enable_io().build()?.block_on(questions()))
    };
    let outcome = thread::scope(|scope| scope.spawn(inside).join());
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
