//! Ports for servers that cannot be told to take any that is free.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what the system gives to whoever asks for any: nobody gets one of these between our look and the server's.
const PORTS: std::ops::Range<u32> = 16_000..32_000;

/// A port that nobody listens on, and that this process has given to nobody else. Processes begin at different ones.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    let first = std::process::id().wrapping_mul(61) % count;
    for _ in 0..count {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(PORTS.start + (first + given) % count).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
