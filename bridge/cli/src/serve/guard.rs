//! Who may ask what: everybody who gets through may read; whoever has the token, or comes by the socket of the state folder, may drain and
//! save.

use std::net::SocketAddr;

use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, StatusCode, Uri};

/// Where a request came in.
#[derive(Debug, Clone, Copy)]
pub enum Door {
    /// An address that was given.
    Address(SocketAddr),
    /// The socket, which only the owner of the state folder can open.
    Socket,
}

/// Why a request is refused.
pub type Refused = (StatusCode, &'static str);

/// A page elsewhere may lead a browser to a loopback address under a name of its own (DNS rebinding): there, only names of
/// this machine are answered.
pub fn may_read(door: Door, headers: &HeaderMap) -> Result<(), Refused> {
    let Door::Address(address) = door else { return Ok(()) };
    if !address.ip().is_loopback() {
        return Ok(());
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Uri>().ok());
    let is_ours = host.as_ref().and_then(Uri::host).is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    match is_ours {
        true => Ok(()),
        false => Err((StatusCode::FORBIDDEN, "this address answers to localhost, 127.0.0.1 and [::1] alone")),
    }
}

/// Whether a request may change something.
pub fn may_control(door: Door, token: Option<&str>, headers: &HeaderMap) -> Result<(), Refused> {
    if matches!(door, Door::Socket) {
        return Ok(());
    }
    let Some(token) = token else {
        return Err((
            StatusCode::FORBIDDEN,
            "no token is set: start with TIDEGATE_HTTP_TOKEN, or use `tidegate drain`",
        ));
    };
    let given = headers.get(AUTHORIZATION).and_then(|given| given.to_str().ok()?.strip_prefix("Bearer "));
    match given.is_some_and(|given| is_equal(given.as_bytes(), token.as_bytes())) {
        true => Ok(()),
        false => Err((StatusCode::UNAUTHORIZED, "the token is wrong or missing: send it as `Authorization: Bearer …`")),
    }
}

/// Compares without telling by the time it takes where two texts differ.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differs, (l, r)| differs | (l ^ r)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_loopback_address_answers_to_names_of_this_machine() {
        let loopback = Door::Address("127.0.0.1:8080".parse().unwrap());
        for host in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "[::1]:8080"] {
            assert_eq!(may_read(loopback, &headers(HOST, host)), Ok(()), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "10.0.0.1:8080", ""] {
            assert!(may_read(loopback, &headers(HOST, host)).is_err(), "{host}");
        }
        assert!(may_read(loopback, &HeaderMap::new()).is_err());
        let everywhere = Door::Address("0.0.0.0:8080".parse().unwrap());
        assert_eq!(may_read(everywhere, &headers(HOST, "warehouse.example")), Ok(()));
    }

    #[test]
    fn whoever_changes_something_needs_the_token_or_the_socket() {
        let door = Door::Address("127.0.0.1:8080".parse().unwrap());
        let refused = |token, headers: &HeaderMap| may_control(door, token, headers).unwrap_err().0;
        let good = headers(AUTHORIZATION, "Bearer 0123456789abcdef");
        assert_eq!(refused(None, &good), StatusCode::FORBIDDEN);
        assert_eq!(refused(Some("0123456789abcdeF"), &good), StatusCode::UNAUTHORIZED);
        assert_eq!(refused(Some("0123456789abcdef"), &HeaderMap::new()), StatusCode::UNAUTHORIZED);
        assert_eq!(
            refused(Some("0123456789abcdef"), &headers(AUTHORIZATION, "0123456789abcdef")),
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(may_control(door, Some("0123456789abcdef"), &good), Ok(()));
        assert_eq!(may_control(Door::Socket, None, &HeaderMap::new()), Ok(()));
    }
}
