//! Where the server is and how to reach it: the `url`, in libpq's words, and the sessions that it opens.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgwire_replication::tls::rustls::maybe_upgrade_to_tls;
use pgwire_replication::{PgWireError, ReplicationClient, ReplicationConfig, SslMode, TlsConfig};
use tidegate_core::{ErrorKind, Lsn};
use tokio::net::TcpStream;
use tokio_postgres::{Client, NoTls};
use url::Url;

use crate::error::{self, PostgresError, replication};
use crate::passfile;

/// Settings of every session: text forms that do not depend on the server's configuration, and no
/// time-outs that would end a session which waits for us.
const OPTIONS: &str = "-c DateStyle=ISO,YMD -c IntervalStyle=iso_8601 -c TimeZone=UTC -c bytea_output=hex \
                       -c extra_float_digits=3 -c statement_timeout=0 -c lock_timeout=0 \
                       -c idle_in_transaction_session_timeout=0 -c search_path=pg_catalog -c row_security=off";

/// How `money` is written where values are read; the digits it has are asked under the database's own
/// setting.
pub(crate) const MONEY_SETTING: &str = "lc_monetary=C";

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Connection {
    host: String,
    port: u16,
    user: String,
    password: String,
    database: String,
    application_name: String,
    connect_timeout: Duration,
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
    pub fn parse(text: &str, base: &Path) -> Result<Connection, String> {
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
            tls: TlsConfig::disabled(),
        };
        let mut mode = SslMode::Prefer;
        let mut pass_file = None;
        for (key, value) in url.query_pairs() {
            let file = || Some(base.join(value.as_ref()));
            match key.as_ref() {
                "sslmode" => mode = ssl_mode(&value)?,
                "sslrootcert" if value == "system" => {}
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
        connection.tls.mode = mode;
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

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The role.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Opens an SQL session. `source` is the source's name, for errors.
    pub async fn session(&self, source: &str) -> Result<Session, PostgresError> {
        let opened = tokio::time::timeout(self.connect_timeout, self.open(source)).await;
        opened.unwrap_or_else(|_| Err(self.timed_out(source)))
    }

    async fn open(&self, source: &str) -> Result<Session, PostgresError> {
        let doing = "connecting";
        let unreachable = |message: String, kind| PostgresError::Server {
            database: source.to_owned(),
            doing,
            message: format!("{self:?}: {message}"),
            kind,
        };
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await;
        let tcp = tcp.map_err(|error| unreachable(error.to_string(), ErrorKind::Retry))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string(), ErrorKind::Retry))?;
        let stream = maybe_upgrade_to_tls(tcp, &self.tls, &self.host).await.map_err(|error| {
            let kind = match &error {
                PgWireError::Io(_) => ErrorKind::Retry,
                other => error::tls_kind(&other.to_string()),
            };
            unreachable(error.to_string(), kind)
        })?;
        let mut config = tokio_postgres::Config::new();
        config.user(&self.user).dbname(&self.database).application_name(&self.application_name).options(OPTIONS);
        if !self.password.is_empty() {
            config.password(&self.password);
        }
        let (client, connection) =
            config.connect_raw(stream, NoTls).await.map_err(|error| error::server(source, doing, &error))?;
        let driver = tokio::spawn(async move {
            // The client's calls report how the connection ended.
            let _ = connection.await;
        });
        Ok(Session { source: source.to_owned(), client, given_up: AtomicBool::new(false), driver })
    }

    /// Opens a replication session that waits for commands before it streams.
    pub async fn replication(&self, source: &str, stream: Stream<'_>) -> Result<ReplicationClient, PostgresError> {
        let doing = "connecting for replication";
        let mut config = ReplicationConfig::new(
            &self.host,
            &self.user,
            &self.password,
            &self.database,
            stream.slot,
            stream.publication,
        )
        .with_port(self.port)
        .with_tls(self.tls.clone())
        .with_options(format!("{OPTIONS} -c {MONEY_SETTING}"))
        .with_application_name(&self.application_name)
        .with_status_interval(Duration::from_millis(100))
        .with_wakeup_interval(Duration::from_secs(5))
        .with_start_lsn(pgwire_replication::Lsn::from_u64(stream.start.0));
        // Events between the client and us are counted, not weighed: few enough that large rows do not add up.
        config.buffer_events = 512;
        // What is durable is told by acknowledgement alone, never by where the stream starts.
        config.ack_lsn = Some(pgwire_replication::Lsn::from_u64(stream.acknowledged.0));
        let opened = async {
            let mut client = ReplicationClient::connect_gated(config).await?;
            client.simple_query("SELECT 1").await?;
            Ok::<_, PgWireError>(client)
        };
        match tokio::time::timeout(self.connect_timeout, opened).await {
            Ok(opened) => opened.map_err(|error| replication(source, doing, &error)),
            Err(_) => Err(self.timed_out(source)),
        }
    }

    fn timed_out(&self, source: &str) -> PostgresError {
        PostgresError::Server {
            database: source.to_owned(),
            doing: "connecting",
            message: format!("{self:?} does not answer within {} s", self.connect_timeout.as_secs()),
            kind: ErrorKind::Retry,
        }
    }
}

/// What a replication session is to stream.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    pub slot: &'a str,
    pub publication: &'a str,
    pub start: Lsn,
    pub acknowledged: Lsn,
}

/// How long the server has for an answer. One that takes longer is cut off, or asked for too much; the session is
/// given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// An SQL session. Its queries bind their values; its errors name the source.
pub(crate) struct Session {
    source: String,
    pub client: Client,
    given_up: AtomicBool,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Whether the connection is gone, or did not answer.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed() || self.given_up.load(Ordering::Relaxed)
    }

    /// Rows of a query.
    pub async fn query(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, PostgresError> {
        self.answer(doing, self.client.query(sql, values)).await
    }

    /// The one row of a query.
    pub async fn query_one(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<tokio_postgres::Row, PostgresError> {
        self.answer(doing, self.client.query_one(sql, values)).await
    }

    /// Statements without rows.
    pub async fn execute(&self, doing: &'static str, sql: &str) -> Result<(), PostgresError> {
        self.answer(doing, self.client.batch_execute(sql)).await
    }

    async fn answer<T>(
        &self,
        doing: &'static str,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(answer) => answer.map_err(|error| error::server(&self.source, doing, &error)),
            Err(_) => {
                self.given_up.store(true, Ordering::Relaxed);
                let message = format!("the server did not answer within {} s", ANSWER_WITHIN.as_secs());
                let kind = ErrorKind::Retry;
                Err(PostgresError::Server { database: self.source.clone(), doing, message, kind })
            }
        }
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

/// A name in SQL.
pub(crate) fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL, for the few places that take no bound values.
pub(crate) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
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
        for (text, says) in [
            ("postgres://h/d", "names no user"),
            ("postgres://u@h/d?sslmode=maybe", "verify-full"),
            ("postgres://u@h/d?sslmod=require", "sslmode, sslrootcert"),
            ("postgres://u@h/d?sslrootcert=ca.pem", "/nowhere/ca.pem"),
            ("postgres://u@h/d?passfile=p", "/nowhere/p"),
            ("postgres://u@h/d?connect_timeout=0", "at least 1"),
            ("host=h dbname=d", "postgres://user"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quote_ident(r#"a"b"#), r#""a""b""#);
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\b"), r" E'a\\b'");
    }
}
