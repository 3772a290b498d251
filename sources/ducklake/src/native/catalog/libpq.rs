//! Connection strings as libpq takes them, which is what stands behind `ducklake:postgres:`. DuckDB hands
//! them to libpq, so both of its forms are read here, and what they leave out comes from libpq's own
//! variables. All of it becomes the one form that [`Connection`] reads; a parameter that it does not know is
//! refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_postgres::Connection;
use url::Url;

/// Parameters and the variables that give them when the connection string does not.
const VARIABLES: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("user", "USER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("dbname", "PGDATABASE"),
    ("options", "PGOPTIONS"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("application_name", "PGAPPNAME"),
];

/// How to reach the server, and the settings that the string has for the session.
pub fn parse(text: &str, base: &Path) -> Result<(Connection, String), String> {
    parse_with(text, base, |name| std::env::var(name).ok())
}

fn parse_with(
    text: &str,
    base: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(Connection, String), String> {
    let mut parameters = match text.split_once("://") {
        Some(("postgres" | "postgresql", _)) => from_uri(text)?,
        _ => from_pairs(text)?,
    };
    parameters.retain(|_, value| !value.is_empty());
    for (parameter, name) in VARIABLES {
        if !parameters.contains_key(*parameter)
            && let Some(value) = variable(name).filter(|value| !value.is_empty())
        {
            parameters.insert((*parameter).to_owned(), value);
        }
    }
    let options = parameters.remove("options").unwrap_or_default();
    let url = to_url(parameters)?;
    let connection = Connection::parse(&url, base).map_err(|error| error.to_string().replace("`url`", "`catalog`"))?;
    Ok((connection, options))
}

/// The URL that says the same.
fn to_url(mut parameters: BTreeMap<String, String>) -> Result<String, String> {
    let host = match (parameters.remove("host"), parameters.remove("hostaddr")) {
        (Some(host), Some(address)) if host != address => {
            return Err("`catalog` has host and hostaddr: write one of them".to_owned());
        }
        (host, address) => host.or(address).unwrap_or_else(|| "localhost".to_owned()),
    };
    if host.starts_with(['/', '@']) {
        return Err("the host in `catalog` is the folder of a socket: write host=localhost".to_owned());
    }
    let port = parameters.remove("port").unwrap_or_else(|| "5432".to_owned());
    if host.contains(',') || port.contains(',') {
        return Err("`catalog` names several servers: write one of them".to_owned());
    }
    if port.parse::<u16>().is_err() {
        return Err("the port in `catalog` is not a number up to 65535".to_owned());
    }
    let user = parameters.remove("user").ok_or("`catalog` names no user: add user=…")?;
    let database = parameters.remove("dbname").unwrap_or_else(|| user.clone());
    let password = parameters.remove("password").map(|password| format!(":{}", encode(&password)));
    let host = if host.contains(':') { format!("[{host}]") } else { encode(&host) };
    let rest: Vec<_> = parameters.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    Ok(format!(
        "postgres://{}{}@{host}:{port}/{}?{}",
        encode(&user),
        password.unwrap_or_default(),
        encode(&database),
        rest.join("&")
    ))
}

/// `key = value` pairs; values in quotes take `\'` and `\\`.
fn from_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let form = "write dbname=… host=… user=…";
    let mut parameters = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or_else(|| {
            // What stands there may be a part of a password.
            format!("`catalog` has something after ducklake:postgres: that is not key=value: {form}")
        })?;
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(format!("`catalog` has something after ducklake:postgres: that is not key=value: {form}"));
        }
        let (value, after) = value(after.trim_start())?;
        parameters.insert(key.to_owned(), value);
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// The value at the beginning of a text, and what follows it.
fn value(text: &str) -> Result<(String, &str), String> {
    let (quoted, text) = text.strip_prefix('\'').map_or((false, text), |text| (true, text));
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            blank if !quoted && blank.is_whitespace() => return Ok((value, &text[at..])),
            other => value.push(other),
        }
    }
    if quoted { Err("`catalog` has a value whose quote does not end".to_owned()) } else { Ok((value, "")) }
}

/// The parameters of a URI, which libpq lets leave out nearly everything.
fn from_uri(text: &str) -> Result<BTreeMap<String, String>, String> {
    let url = Url::parse(text).map_err(|error| format!("`catalog` has a URL that is none ({error})"))?;
    let mut parameters = BTreeMap::new();
    let mut set = |key: &str, value: &str| -> Result<(), String> {
        parameters.insert(key.to_owned(), decode(value)?);
        Ok(())
    };
    set("host", url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']'))?;
    set("user", url.username())?;
    set("password", url.password().unwrap_or_default())?;
    set("dbname", url.path().trim_start_matches('/'))?;
    set("port", &url.port().map(|port| port.to_string()).unwrap_or_default())?;
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("`catalog` has a URL with a parameter that has no value")?;
        // As libpq has it, a plus is a plus.
        set(key, value)?;
    }
    Ok(parameters)
}

/// Everything but letters, digits and three signs as `%XX`.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
        encoded
    })
}

fn decode(text: &str) -> Result<String, String> {
    let wrong = || "`catalog` has a URL with a % that is not followed by two hexadecimal digits of UTF-8".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<(Connection, String), String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        parse_with(text, Path::new("/nowhere"), variable)
    }

    #[test]
    fn both_forms_are_read_as_libpq_reads_them() {
        let both = [
            r"dbname='la ke' host=db.example port = 5433 user=ali password='o\'pen \\ sesame+%'",
            "postgresql://ali:o'pen%20%5C%20sesame+%25@db.example:5433/la%20ke",
            "postgres:///?dbname=la%20ke&host=db.example&port=5433&user=ali&password=o'pen%20%5C%20sesame+%25",
        ];
        for text in both {
            let (connection, _) = read(text, &[]).unwrap();
            assert_eq!((connection.host(), connection.port()), ("db.example", 5433), "{text}");
            assert_eq!((connection.database(), connection.user()), ("la ke", "ali"), "{text}");
            assert_eq!(connection.password(), r"o'pen \ sesame+%", "{text}");
            assert_eq!(connection.application_name(), "tidegate");
        }
    }

    #[test]
    fn what_is_left_out_comes_from_variables() {
        let variables = [("PGUSER", "eve"), ("USER", "root"), ("PGPASSWORD", "hush"), ("PGPORT", "7")];
        let (connection, options) = read("host=::1 port=8 options='-c work_mem=8MB'", &variables).unwrap();
        assert_eq!((connection.host(), connection.port(), connection.user()), ("::1", 8, "eve"));
        assert_eq!((connection.database(), connection.password()), ("eve", "hush"));
        assert_eq!(options, "-c work_mem=8MB");
        let (connection, _) = read("", &[("USER", "root")]).unwrap();
        assert_eq!((connection.host(), connection.port(), connection.user()), ("localhost", 5432, "root"));
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (text, says) in [
            ("host=/tmp user=a", "host=localhost"),
            ("host=a,b user=a", "several servers"),
            ("host=a hostaddr=127.0.0.1 user=a", "one of them"),
            ("host=a", "names no user"),
            ("host=a user=b keepalives=1", "keepalives"),
            ("host=a user=b port=x", "65535"),
            ("host=a user=b hush", "key=value"),
            ("host=a user=b password='hush", "quote"),
            ("host=a user=b sslmode=maybe", "verify-full"),
            ("postgres://a:%zz@b/c", "hexadecimal"),
        ] {
            let error = read(text, &[]).unwrap_err();
            assert!(error.contains(says) && !error.contains("hush") && !error.contains("`url`"), "{text}: {error}");
        }
    }
}
