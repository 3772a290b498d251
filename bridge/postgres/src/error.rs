//! What can go wrong between us and a server, and whether trying again may help.

/// An error of a connection or a session.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The `url` says something that cannot be.
    #[error("{message}")]
    Url {
        /// What is wrong, and what to write instead.
        message: String,
    },
    /// The server cannot be reached, or the connection was cut.
    #[error("{doing} failed: {message}")]
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        message: String,
        /// Whether trying again may help.
        passing: bool,
    },
    /// The server refuses.
    #[error("{doing} failed: {message} (SQLSTATE {state})")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The server's primary message.
        message: String,
        /// The SQLSTATE.
        state: String,
        /// What the refusal is about, where the server names it.
        about: Box<Constraint>,
    },
}

/// The object that a refusal is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraint {
    /// The constraint or index.
    pub constraint: Option<String>,
    /// The objects that depend on the one that was to go; the server names objects there, never values.
    pub dependents: Option<String>,
}

impl PostgresError {
    /// The SQLSTATE, when the server answered.
    pub fn state(&self) -> Option<&str> {
        match self {
            PostgresError::Refused { state, .. } => Some(state),
            _ => None,
        }
    }

    /// Whether trying again may help, whatever was being done.
    pub fn is_passing(&self) -> bool {
        match self {
            PostgresError::Url { .. } => false,
            PostgresError::Unreachable { passing, .. } => *passing,
            PostgresError::Refused { state, .. } => is_passing(state),
        }
    }

    /// What tokio-postgres reports.
    pub fn of(doing: &'static str, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => PostgresError::Refused {
                doing,
                message: db.message().to_owned(),
                state: db.code().code().to_owned(),
                about: Box::new(Constraint {
                    constraint: db.constraint().map(str::to_owned),
                    // dependent_objects_still_exist: the one detail that never holds values.
                    dependents: db.detail().filter(|_| db.code().code() == "2BP01").map(str::to_owned),
                }),
            },
            None => PostgresError::Unreachable { doing, message: tidegate_core::chain(error), passing: true },
        }
    }
}

/// SQLSTATEs after which trying again may help: lost connections, time-outs, a server that starts or stops, too many
/// connections, a full disk, locks, and objects that their last user has not let go yet. Everything else needs a person.
pub fn is_passing(state: &str) -> bool {
    const PASSING: &[&str] =
        &["55P03", "55006", "57P01", "57P02", "57P03", "57P05", "57014", "25P03", "40001", "40P01"];
    state.starts_with("08") || state.starts_with("53") || PASSING.contains(&state)
}

/// Whether a TLS handshake may succeed another time: it may fail because the connection was cut; a certificate
/// stays as it is.
pub fn tls_kind(text: &str) -> tidegate_core::ErrorKind {
    let cut = ["unexpected end of file", "early eof", "reset", "close_notify", "tls handshake eof", "timed out"];
    let text = text.to_ascii_lowercase();
    if cut.iter().any(|cut| text.contains(cut)) {
        tidegate_core::ErrorKind::Retry
    } else {
        tidegate_core::ErrorKind::Reconfigure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_tried_again_and_nothing_else() {
        for state in ["08006", "57P01", "57P03", "53300", "53100", "55006", "55P03", "40P01"] {
            assert!(is_passing(state), "{state}");
        }
        for state in ["28P01", "28000", "42501", "3D000", "22023", "42P01", "23505"] {
            assert!(!is_passing(state), "{state}");
        }
    }
}
