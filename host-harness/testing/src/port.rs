//! Ports for servers that cannot choose one themselves.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;

/// One of 127.0.0.1 that nobody listens on now, and that nobody else in this process is given.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}
