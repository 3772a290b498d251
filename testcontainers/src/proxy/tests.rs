//! A server that sends back what it gets, behind a proxy.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Cut, FaultProxy};
use crate::{PgClient, Postgres};

const LONG: Duration = Duration::from_secs(30);
/// Long enough for anything that is not held back.
const SHORT: Duration = Duration::from_millis(200);

/// Starts a server that greets with a letter and then sends back what it gets. It lasts as long as
/// the process.
fn echo(greeting: u8) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().unwrap();
                // The client may go at any time.
                let _ = stream.write_all(&[greeting]).and_then(|()| std::io::copy(&mut reader, &mut stream));
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

fn connect(proxy: &FaultProxy) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn connect_greeted(proxy: &FaultProxy, greeting: u8) -> TcpStream {
    let mut stream = connect(proxy);
    assert_eq!(receive(&mut stream, 1), [greeting]);
    stream
}

fn receive(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn assert_silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(LONG)).unwrap();
}

#[test]
fn bytes_pass_both_ways_and_are_counted() {
    let proxy = FaultProxy::start(echo(b'a'));
    let mut stream = connect_greeted(&proxy, b'a');
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let expected = sent.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    sender.join().unwrap();
    assert!(received == expected);
    proxy.wait_closed(LONG);
    assert_eq!((proxy.bytes(), proxy.bytes_sent()), (1_000_001, 1_000_000));
    assert_eq!((proxy.connections(), proxy.accepted()), (0, 1));
}

#[test]
fn connections_are_cut() {
    let proxy = FaultProxy::start(echo(b'a'));
    let mut streams = [connect_greeted(&proxy, b'a'), connect_greeted(&proxy, b'a')];
    assert_eq!(proxy.connections(), 2);
    proxy.cut();
    assert_eq!(proxy.connections(), 0);
    for stream in &mut streams {
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let mut stream = connect_greeted(&proxy, b'a');
    proxy.close(Cut::Finish);
    assert_eq!(proxy.connections(), 0);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    connect_greeted(&proxy, b'a');
    assert_eq!(proxy.accepted(), 4);
}

#[test]
fn new_connections_are_refused() {
    let proxy = FaultProxy::start(echo(b'a'));
    let mut old = connect_greeted(&proxy, b'a');
    proxy.refuse(true);
    assert_eq!(connect(&proxy).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    old.write_all(b"x").unwrap();
    assert_eq!(receive(&mut old, 1), b"x");
    proxy.refuse(false);
    connect_greeted(&proxy, b'a');
}

#[test]
fn a_stalled_proxy_is_a_black_hole() {
    let proxy = FaultProxy::start(echo(b'a'));
    let mut old = connect_greeted(&proxy, b'a');
    proxy.stall(true);
    let before = proxy.bytes();
    let mut new = connect(&proxy);
    proxy.wait_accepted(2, LONG);
    old.write_all(b"x").unwrap();
    assert_silent(&mut old);
    assert_silent(&mut new);
    assert_eq!((proxy.bytes(), proxy.connections()), (before, 2));
    proxy.stall(false);
    assert_eq!(receive(&mut old, 1), b"x");
    assert_eq!(receive(&mut new, 1), b"a");
    proxy.stall(true);
    proxy.cut();
    assert_eq!(new.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn chunks_are_delayed_and_throttled() {
    let proxy = FaultProxy::start(echo(b'a'));
    let mut stream = connect_greeted(&proxy, b'a');
    let mut round_trip = |length: usize| {
        let started = Instant::now();
        let mut writer = stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || writer.write_all(&vec![7; length]).unwrap());
        assert!(receive(&mut stream, length) == vec![7; length]);
        sender.join().unwrap();
        started.elapsed()
    };
    proxy.delay(SHORT);
    assert!(round_trip(1) >= 2 * SHORT);
    proxy.delay(Duration::ZERO);
    proxy.throttle(50_000);
    let took = round_trip(20_000);
    assert!(took >= Duration::from_millis(400), "{took:?}");
    // What a rule would hold back for days ends with the rule.
    for (set, unset) in [
        (&(|| proxy.throttle(1)) as &dyn Fn(), &(|| proxy.throttle(0)) as &dyn Fn()),
        (&|| proxy.delay(Duration::from_secs(86_400)), &|| proxy.delay(Duration::ZERO)),
    ] {
        set();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| round_trip(1_000_000));
            std::thread::sleep(SHORT);
            unset();
            assert!(waiting.join().unwrap() >= SHORT);
        });
    }
}

#[test]
fn new_connections_go_to_the_new_target() {
    let proxy = FaultProxy::start(echo(b'a'));
    let mut old = connect_greeted(&proxy, b'a');
    proxy.retarget(echo(b'b'));
    connect_greeted(&proxy, b'b');
    old.write_all(b"x").unwrap();
    assert_eq!(receive(&mut old, 1), b"x");
}

#[test]
fn a_target_that_is_down_closes_the_connection() {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let proxy = FaultProxy::start(port);
    assert_eq!(connect(&proxy).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.wait_closed(LONG);
}

#[test]
fn sessions_of_a_database_break_and_come_again() {
    let server = Postgres::start();
    let proxy = FaultProxy::start(server.port());
    let url = server.url_via(proxy.port(), "postgres");
    let session = PgClient::connect(&url);
    session.execute("CREATE TABLE t (a int)");
    session.execute("BEGIN; INSERT INTO t VALUES (1)");
    proxy.cut();
    assert!(session.try_execute("COMMIT").is_err());
    assert_eq!(PgClient::connect(&url).value("SELECT count(*) FROM t"), "0");
}
