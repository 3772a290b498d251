//! One connection through the proxy, under rules that change while it lasts.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::{Cut, Open, Rules};

const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// A throttled direction sends so many pieces in a second.
const PIECES_PER_SECOND: u64 = 20;
/// A target that does not answer at all is as good as absent.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Why a direction ended.
enum End {
    /// The sender has finished, and the receiver has been told.
    Finished,
    /// One of the ends is gone.
    Broken,
    /// The test wants it so.
    Cut(Cut),
}

/// One connection from its beginning to its end.
pub(super) async fn serve(client: TcpStream, mut rules: watch::Receiver<Rules>, open: Open) {
    // The sockets are closed before the connection counts as closed: locals are dropped in reverse.
    let target = match until_forwarding(&mut rules, open.number).await {
        Ok(rules) => rules.target,
        Err(cut) => return close(cut, [client]).await,
    };
    let connecting = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(("127.0.0.1", target)));
    let server = tokio::select! {
        cut = until_cut(rules.clone(), open.number) => return close(cut, [client]).await,
        connected = connecting => match connected {
            Ok(Ok(server)) => server,
            _ => return close(Cut::Reset, [client]).await,
        },
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let shared = Arc::clone(&open.shared);
    let end = {
        let up = pump(&mut client_read, &mut server_write, rules.clone(), open.number, &shared.from_client);
        let down = pump(&mut server_read, &mut client_write, rules, open.number, &shared.from_server);
        tokio::pin!(up, down);
        tokio::select! {
            end = &mut up => match end {
                End::Finished => down.await,
                end => end,
            },
            end = &mut down => match end {
                End::Finished => up.await,
                end => end,
            },
        }
    };
    let whole = |read: OwnedReadHalf, write: OwnedWriteHalf| read.reunite(write).expect("they are of one stream");
    let streams = [whole(client_read, client_write), whole(server_read, server_write)];
    match end {
        End::Finished => close(Cut::Finish, streams).await,
        End::Broken => close(Cut::Reset, streams).await,
        End::Cut(cut) => close(cut, streams).await,
    }
    drop(open);
}

async fn close<const N: usize>(cut: Cut, streams: [TcpStream; N]) {
    // An end that is gone already needs not be told.
    for mut stream in streams {
        match cut {
            Cut::Reset => drop(stream.set_zero_linger()),
            Cut::Finish => {
                let _ = stream.shutdown().await;
                // To close it with something unread in it would be a reset.
                let mut unread = [0; 4096];
                while stream.try_read(&mut unread).is_ok_and(|length| length > 0) {}
            }
        }
    }
}

/// Forwards one direction until it ends.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut rules: watch::Receiver<Rules>,
    number: u64,
    forwarded: &AtomicU64,
) -> End {
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    loop {
        let now = match until_forwarding(&mut rules, number).await {
            Ok(now) => now,
            Err(cut) => return End::Cut(cut),
        };
        let piece = now.throttle.map_or(CHUNK_BYTES_MAX, |rate| {
            usize::try_from((rate / PIECES_PER_SECOND).max(1)).unwrap_or(CHUNK_BYTES_MAX).min(CHUNK_BYTES_MAX)
        });
        let read = tokio::select! {
            biased;
            _ = rules.changed() => continue,
            ready = from.readable() => ready.and_then(|()| from.try_read(&mut buffer[..piece])),
        };
        let length = match read {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return End::Broken,
        };
        if let Err(end) = hold(&mut rules, number, length).await {
            return end;
        }
        let mut rest = &buffer[..length];
        loop {
            if let Err(cut) = until_forwarding(&mut rules, number).await {
                return End::Cut(cut);
            }
            match forward(&rules, number, rest, to) {
                Forward::Wait => {
                    tokio::select! {
                        biased;
                        _ = rules.changed() => {}
                        ready = to.writable() => if ready.is_err() { return End::Broken },
                    }
                }
                Forward::Sent(count) => {
                    forwarded.fetch_add(count as u64, Ordering::SeqCst);
                    rest = &rest[count..];
                    if rest.is_empty() {
                        break;
                    }
                }
                Forward::Finished => return End::Finished,
                Forward::Broken => return End::Broken,
            }
        }
    }
}

enum Forward {
    Sent(usize),
    /// The receiver or a rule does not let it pass now.
    Wait,
    /// Nothing is the end of the stream.
    Finished,
    Broken,
}

/// Writes while the rules cannot change, if they permit it.
fn forward(rules: &watch::Receiver<Rules>, number: u64, bytes: &[u8], to: &mut OwnedWriteHalf) -> Forward {
    let held = rules.borrow();
    if held.stall || number < held.cut_before {
        return Forward::Wait;
    }
    if bytes.is_empty() {
        // A socket never defers this.
        return match Pin::new(to).poll_shutdown(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(_)) => Forward::Broken,
            Poll::Ready(Ok(())) | Poll::Pending => Forward::Finished,
        };
    }
    match to.try_write(bytes) {
        Ok(count) => Forward::Sent(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Forward::Wait,
        Err(_) => Forward::Broken,
    }
}

/// Holds so many bytes as long as the rules say, which may change meanwhile.
async fn hold(rules: &mut watch::Receiver<Rules>, number: u64, bytes: usize) -> Result<(), End> {
    let since = Instant::now();
    loop {
        let now = until_forwarding(rules, number).await.map_err(End::Cut)?;
        let throttled = now.throttle.map_or(0.0, |rate| bytes as f64 / rate as f64);
        let until = since + now.delay + Duration::from_secs_f64(throttled);
        tokio::select! {
            biased;
            _ = rules.changed() => {}
            () = tokio::time::sleep_until(until.into()) => return Ok(()),
        }
    }
}

/// The rules as soon as they let bytes pass; the way in which the connection is cut when it is.
async fn until_forwarding(rules: &mut watch::Receiver<Rules>, number: u64) -> Result<Rules, Cut> {
    loop {
        let now = *rules.borrow_and_update();
        if number < now.cut_before {
            return Err(now.cut);
        }
        if !now.stall {
            return Ok(now);
        }
        if rules.changed().await.is_err() {
            return Err(Cut::Reset);
        }
    }
}

async fn until_cut(mut rules: watch::Receiver<Rules>, number: u64) -> Cut {
    rules.wait_for(|rules| number < rules.cut_before).await.map_or(Cut::Reset, |rules| rules.cut)
}
