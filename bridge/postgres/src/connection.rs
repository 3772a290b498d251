//! Where the server is and how to reach it: the `url`, in libpq's words.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgwire_replication::tls::rustls::{MaybeTlsStream, maybe_upgrade_to_tls};
use pgwire_replication::{PgWireError, SslMode, TlsConfig};
use tidegate_core::ErrorKind;
use tokio::net::TcpStream;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, NoTls};
use url::Url;

use crate::error::{PostgresError, tls_kind};
use crate::passfile;
use crate::session::Session;

/// What drives a client: it sends and receives for it.
pub(crate) type Wire = tokio_postgres::Connection<MaybeTlsStream, NoTlsStream>;

/// How long the server has for an answer, when nothing else is said.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How to reach the server.
#[derive(Clone)]
pub struct Connection {
    host: String,
    port: u16,
    user: String,
    password: String,
    database: String,
    application_name: String,
    connect_timeout: Duration,
    answer_within: Duration,
    tls: TlsConfig,
}

impl fmt::Debug for Connection {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

impl Connection {
    /// Reads a URL. Relative files are relative to `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Connection, PostgresError> {
        Self::read(text, base).map_err(|message| PostgresError::Url { message })
    }

    fn read(text: &str, base: &Path) -> Result<Connection, String> {
        let form = "write postgres://user:password@host:port/database";
        let url = Url::parse(text).map_err(|error| format!("`url` is not a URL ({error}): {form}"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(format!("`url` begins with {}://: {form}", url.scheme()));
        }
        let host = decode(url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let user = decode(url.username())?;
        if user.is_empty() {
            return Err(format!("`url` names no user: {form}"));
        }
        let database = match decode(url.path().trim_start_matches('/'))? {
            empty if empty.is_empty() => user.clone(),
            database => database,
        };
        let mut connection = Connection {
            host,
            port: url.port().unwrap_or(5432),
            user,
            password: String::new(),
            database,
            application_name: "tidegate".to_owned(),
            connect_timeout: Duration::from_secs(10),
            answer_within: ANSWER_WITHIN,
            tls: TlsConfig::disabled(),
        };
        let mut mode = None;
        let mut by_public_roots = false;
        let mut pass_file = None;
        for (key, value) in url.query_pairs() {
            let file = || Some(base.join(value.as_ref()));
            match key.as_ref() {
                "sslmode" => mode = Some(ssl_mode(&value)?),
                "sslrootcert" if value == "system" => by_public_roots = true,
                "sslrootcert" => connection.tls.ca_pem_path = file(),
                "sslcert" => connection.tls.client_cert_pem_path = file(),
                "sslkey" => connection.tls.client_key_pem_path = file(),
                "passfile" => pass_file = file(),
                "application_name" => connection.application_name = value.into_owned(),
                "connect_timeout" => {
                    let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                    let seconds = seconds.ok_or("connect_timeout in `url` is a number of seconds, at least 1")?;
                    connection.connect_timeout = Duration::from_secs(seconds);
                }
                other => {
                    let known = "sslmode, sslrootcert, sslcert, sslkey, passfile, connect_timeout, application_name";
                    return Err(format!("`url` has the parameter {other}, which is not known: there are {known}"));
                }
            }
        }
        // As libpq does: whom the public roots vouch for is anybody, unless the name is looked at, too.
        connection.tls.mode = match (by_public_roots, mode) {
            (false, mode) => mode.unwrap_or(SslMode::Prefer),
            (true, None | Some(SslMode::VerifyFull)) => SslMode::VerifyFull,
            (true, Some(_)) => {
                return Err("sslrootcert=system in `url` wants sslmode=verify-full: leave sslmode out".to_owned());
            }
        };
        if connection.host.parse::<std::net::IpAddr>().is_ok() {
            // A certificate may name an address; the client takes one only when it is named here.
            connection.tls.sni_hostname = Some(connection.host.clone());
        }
        if connection.tls.client_cert_pem_path.is_some() != connection.tls.client_key_pem_path.is_some() {
            return Err("`url` has one of sslcert and sslkey: a client certificate needs both".to_owned());
        }
        let tls = &connection.tls;
        for file in [&tls.ca_pem_path, &tls.client_cert_pem_path, &tls.client_key_pem_path].into_iter().flatten() {
            std::fs::metadata(file).map_err(|error| format!("{}, named in `url`: {error}", file.display()))?;
        }
        connection.password = match url.password() {
            Some(password) => decode(password)?,
            None => connection.look_up_password(pass_file)?,
        };
        Ok(connection)
    }

    fn look_up_password(&self, pass_file: Option<PathBuf>) -> Result<String, String> {
        let entry = passfile::Entry { host: &self.host, port: self.port, database: &self.database, user: &self.user };
        match pass_file {
            Some(file) => passfile::password(&file, &entry)?.ok_or_else(|| {
                format!(
                    "{} has no line for {}:{}:{}:{}",
                    file.display(),
                    self.host,
                    self.port,
                    self.database,
                    self.user
                )
            }),
            // As libpq does; a server may ask for no password.
            None => Ok(passfile::default_file()
                .filter(|file| file.exists())
                .and_then(|file| passfile::password(&file, &entry).ok().flatten())
                .unwrap_or_default()),
        }
    }

    /// How long the server has for an answer before it is asked whether it still works on it.
    #[must_use]
    pub fn with_answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }

    /// The server's host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The role.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The role's password, for protocols of their own; empty when there is none. Never to be shown.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// How the session calls itself in `pg_stat_activity`.
    pub fn application_name(&self) -> &str {
        &self.application_name
    }

    /// How long a connection may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long the server has for an answer.
    pub fn answer_within(&self) -> Duration {
        self.answer_within
    }

    /// How the connection is encrypted.
    pub fn tls(&self) -> &TlsConfig {
        &self.tls
    }

    /// Opens an SQL session. `options` are its settings, as on a server's command line: `-c name=value …`.
    pub async fn session(&self, options: &str) -> Result<Session, PostgresError> {
        let opened = tokio::time::timeout(self.connect_timeout, self.open(options)).await;
        opened.unwrap_or_else(|_| {
            let message = format!("{self:?} does not answer within {} s", self.connect_timeout.as_secs());
            Err(PostgresError::Unreachable { doing: "connecting", message, passing: true })
        })
    }

    async fn open(&self, options: &str) -> Result<Session, PostgresError> {
        let (client, connection) = self.connect(options).await?;
        let driver = tokio::spawn(async move {
            // The client's calls report how the connection ended.
            let _ = connection.await;
        });
        Session::begin(client, self.clone(), driver).await
    }

    pub(crate) async fn connect(&self, options: &str) -> Result<(Client, Wire), PostgresError> {
        let doing = "connecting";
        let unreachable = |error: &dyn std::error::Error, passing: bool| {
            let message = format!("{self:?}: {}", tidegate_core::chain(error));
            PostgresError::Unreachable { doing, message, passing }
        };
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await;
        let tcp = tcp.map_err(|error| unreachable(&error, true))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(&error, true))?;
        let stream = maybe_upgrade_to_tls(tcp, &self.tls, &self.host).await.map_err(|error| {
            let passing = matches!(&error, PgWireError::Io(_)) || tls_kind(&error.to_string()) == ErrorKind::Retry;
            unreachable(&error, passing)
        })?;
        let mut config = tokio_postgres::Config::new();
        config.user(&self.user).dbname(&self.database).application_name(&self.application_name).options(options);
        if !self.password.is_empty() {
            config.password(&self.password);
        }
        config.connect_raw(stream, NoTls).await.map_err(|error| PostgresError::of(doing, &error))
    }
}

fn ssl_mode(text: &str) -> Result<SslMode, String> {
    Ok(match text {
        "disable" => SslMode::Disable,
        "allow" | "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        other => {
            let known = "disable, prefer, require, verify-ca, verify-full";
            return Err(format!("sslmode={other} in `url` is not known: there are {known}"));
        }
    })
}

/// Undoes percent encoding.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let wrong = || "`url` has a % that is not followed by two hexadecimal digits".to_owned();
        let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| "`url` is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        let read = |text| Connection::parse(text, Path::new("/nowhere"));
        let connection = read("postgres://ali:open%20sesame@db.example:5433/shop?sslmode=require").unwrap();
        assert_eq!(format!("{connection:?}"), "postgres://ali@db.example:5433/shop");
        assert_eq!((connection.password.as_str(), connection.tls.mode), ("open sesame", SslMode::Require));
        assert_eq!(read("postgresql://ali@h").unwrap().database, "ali");
        assert_eq!(read("postgres://ali@[::1]:1/d?sslmode=disable").unwrap().host, "::1");
        assert_eq!(read("postgres://ali@h").unwrap().tls.mode, SslMode::Prefer);
        assert_eq!(read("postgres://ali@h?sslrootcert=system").unwrap().tls.mode, SslMode::VerifyFull);
        for (text, says) in [
            ("postgres://h/d", "names no user"),
            ("postgres://u@h/d?sslmode=maybe", "verify-full"),
            ("postgres://u@h/d?sslmode=require&sslrootcert=system", "wants sslmode=verify-full"),
            ("postgres://u@h/d?sslmod=require", "sslmode, sslrootcert"),
            ("postgres://u@h/d?sslrootcert=ca.pem", "/nowhere/ca.pem"),
            ("postgres://u@h/d?passfile=p", "/nowhere/p"),
            ("postgres://u@h/d?connect_timeout=0", "at least 1"),
            ("host=h dbname=d", "postgres://user"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
