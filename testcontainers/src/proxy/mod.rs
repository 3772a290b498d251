//! A TCP proxy that misbehaves on demand: what a network does to a connection between a client and
//! a server, while both are in order.

mod connection;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

/// A running proxy. Everything about it can be changed at any time, and applies to the connections
/// that there are and to those that come. A change is in force when its call returns: no byte is
/// forwarded after that but under the new rule.
pub struct FaultProxy {
    port: u16,
    rules: watch::Sender<Rules>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    target: u16,
    refuse: bool,
    stall: bool,
    delay: Duration,
    /// Bytes in a second, per direction and connection.
    throttle: Option<u64>,
    /// Connections with a smaller number are closed, in this way.
    cut_before: u64,
    cut: Cut,
    ended: bool,
}

/// How a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// RST: both ends get an error, and what was under way may be lost.
    Reset,
    /// FIN: both ends read the end of the stream.
    Finish,
}

#[derive(Debug, Default)]
struct Shared {
    connections: Mutex<Connections>,
    changed: Condvar,
    from_server: AtomicU64,
    from_client: AtomicU64,
}

#[derive(Debug, Default)]
struct Connections {
    /// The number of the next one, which is how many there have been.
    next: u64,
    open: BTreeSet<u64>,
}

impl FaultProxy {
    /// Starts a proxy on a free port of 127.0.0.1 that forwards to this one.
    ///
    /// # Panics
    /// When the system has no port or thread left.
    pub fn start(target_port: u16) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port can be had");
        let port = listener.local_addr().expect("a listener has an address").port();
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let (rules, watched) = watch::channel(Rules {
            target: target_port,
            refuse: false,
            stall: false,
            delay: Duration::ZERO,
            throttle: None,
            cut_before: 0,
            cut: Cut::Reset,
            ended: false,
        });
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let serve = {
            let shared = Arc::clone(&shared);
            move || runtime.block_on(accept(listener, watched, shared))
        };
        let thread = std::thread::Builder::new().name("fault-proxy".to_owned()).spawn(serve);
        FaultProxy { port, rules, shared, thread: Some(thread.expect("a thread can be started")) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets all connections. When the call returns they are closed.
    pub fn cut(&self) {
        self.close(Cut::Reset);
    }

    /// Closes all connections in this way. When the call returns they are closed.
    pub fn close(&self, cut: Cut) {
        let before = self.shared.connections().next;
        self.rules.send_modify(|rules| {
            rules.cut_before = before;
            rules.cut = cut;
        });
        let connections = self.shared.connections();
        let closed = self.shared.changed.wait_while(connections, |all| all.open.range(..before).next().is_some());
        drop(closed.unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether new connections are reset at once.
    pub fn refuse(&self, refuse: bool) {
        self.rules.send_modify(|rules| rules.refuse = refuse);
    }

    /// Whether nothing is forwarded, not even the end of a connection: a black hole, which yet
    /// accepts connections. What was sent meanwhile is forwarded afterwards.
    pub fn stall(&self, stall: bool) {
        self.rules.send_modify(|rules| rules.stall = stall);
    }

    /// How long each chunk, of up to 64 KiB, is held in either direction.
    pub fn delay(&self, delay: Duration) {
        self.rules.send_modify(|rules| rules.delay = delay);
    }

    /// How many bytes a second each direction of a connection carries; 0 is no limit.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.rules.send_modify(|rules| rules.throttle = Some(bytes_per_second).filter(|rate| *rate > 0));
    }

    /// Where new connections lead; those that there are stay.
    pub fn retarget(&self, port: u16) {
        self.rules.send_modify(|rules| rules.target = port);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.connections().open.len()
    }

    /// How many connections there have been, with those that were refused.
    pub fn accepted(&self) -> u64 {
        self.shared.connections().next
    }

    /// Bytes that have been forwarded from the server.
    pub fn bytes(&self) -> u64 {
        self.shared.from_server.load(Ordering::SeqCst)
    }

    /// Bytes that have been forwarded to the server.
    pub fn bytes_sent(&self) -> u64 {
        self.shared.from_client.load(Ordering::SeqCst)
    }

    /// Waits until there have been so many connections.
    ///
    /// # Panics
    /// When there are fewer after this time.
    pub fn wait_accepted(&self, at_least: u64, timeout: Duration) {
        self.wait(timeout, &format!("{at_least} connections"), |all| all.next >= at_least);
    }

    /// Waits until no connection is open.
    ///
    /// # Panics
    /// When there is one after this time.
    pub fn wait_closed(&self, timeout: Duration) {
        self.wait(timeout, "no open connection", |all| all.open.is_empty());
    }

    fn wait(&self, timeout: Duration, what: &str, holds: impl Fn(&Connections) -> bool) {
        let connections = self.shared.connections();
        let waited = self.shared.changed.wait_timeout_while(connections, timeout, |all| !holds(all));
        let (connections, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(holds(&connections), "the proxy did not get to {what} within {timeout:?}: {connections:?}");
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.rules.send_modify(|rules| rules.ended = true);
        if let Some(thread) = self.thread.take() {
            // What it says about itself when it panicked is on standard error.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts connections until the proxy ends. The runtime's end closes those that are open then.
async fn accept(listener: std::net::TcpListener, mut rules: watch::Receiver<Rules>, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("the runtime is there");
    let ended = {
        let mut rules = rules.clone();
        async move { drop(rules.wait_for(|rules| rules.ended).await) }
    };
    tokio::pin!(ended);
    loop {
        let accepted = tokio::select! {
            () = &mut ended => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, _)) = accepted else { continue };
        let number = {
            let mut connections = shared.connections();
            let number = connections.next;
            connections.next += 1;
            connections.open.insert(number);
            number
        };
        let open = Open { number, shared: Arc::clone(&shared) };
        shared.changed.notify_all();
        if rules.borrow_and_update().refuse {
            let _ = client.set_zero_linger();
            drop(client);
            drop(open);
            continue;
        }
        tokio::spawn(connection::serve(client, rules.clone(), open));
    }
}

/// A connection's place among the open ones, which it leaves in the end.
struct Open {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.connections().open.remove(&self.number);
        self.shared.changed.notify_all();
    }
}
