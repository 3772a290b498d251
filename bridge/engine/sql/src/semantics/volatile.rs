//! Functions whose value does not follow from their arguments. A view over one would have other rows each time it
//! is computed, so each is refused, with what to write instead.

/// What a value depends on besides the arguments.
#[derive(Clone, Copy)]
enum Depends {
    Time,
    Chance,
    Session,
    Calls,
    Effect,
}

/// All of DuckDB's, and its macros over them. A test holds the list against DuckDB's own.
const VOLATILE: &[(&str, Depends)] = &[
    ("ago", Depends::Time),
    ("current_connection_id", Depends::Session),
    ("current_catalog", Depends::Session),
    ("current_database", Depends::Session),
    ("current_date", Depends::Time),
    ("current_localtime", Depends::Time),
    ("current_localtimestamp", Depends::Time),
    ("current_query", Depends::Session),
    ("current_query_id", Depends::Session),
    ("current_role", Depends::Session),
    ("current_schema", Depends::Session),
    ("current_schemas", Depends::Session),
    ("current_setting", Depends::Session),
    ("current_time", Depends::Time),
    ("current_timestamp", Depends::Time),
    ("current_transaction_id", Depends::Session),
    ("current_user", Depends::Session),
    ("currval", Depends::Calls),
    ("error", Depends::Effect),
    ("gen_random_uuid", Depends::Chance),
    ("get_current_time", Depends::Time),
    ("get_current_timestamp", Depends::Time),
    ("getenv", Depends::Session),
    ("getvariable", Depends::Session),
    ("in_search_path", Depends::Session),
    ("localtime", Depends::Time),
    ("localtimestamp", Depends::Time),
    ("nextval", Depends::Calls),
    ("now", Depends::Time),
    ("pg_conf_load_time", Depends::Time),
    ("pg_postmaster_start_time", Depends::Time),
    ("random", Depends::Chance),
    ("session_user", Depends::Session),
    ("setseed", Depends::Effect),
    ("sleep_ms", Depends::Effect),
    ("stats", Depends::Session),
    ("today", Depends::Time),
    ("transaction_timestamp", Depends::Time),
    ("txid_current", Depends::Session),
    ("user", Depends::Session),
    ("uuid", Depends::Chance),
    ("uuidv4", Depends::Chance),
    ("uuidv7", Depends::Chance),
    ("version", Depends::Session),
    ("write_log", Depends::Effect),
];

/// Why a function cannot stand in a view; `None` when its value follows from its arguments.
pub(crate) fn reason(name: &str) -> Option<String> {
    if name == "tidegate_now" {
        return Some(
            "tidegate_now() stands on one side of a comparison, as in WHERE ts > tidegate_now() - INTERVAL 1 hour: as a \
             value it would change every row in every epoch"
                .to_owned(),
        );
    }
    let depends = VOLATILE.iter().find(|(known, _)| *known == name).map(|(_, depends)| *depends)?;
    Some(match depends {
        Depends::Time => format!(
            "{name}() has another value each time it is asked, so a view over it would never be up to date: \
             write tidegate_now(), the time of the epoch, in a condition, or compare when you query the view"
        ),
        Depends::Chance => format!(
            "{name}() has another value each time it is asked, so a view over it would never be up to date: \
             leave it out, or make a value of the row's own columns, for example with hash"
        ),
        Depends::Session => format!(
            "{name}() depends on the session that asks, and a view belongs to none: leave it out and write it when \
             you query the view"
        ),
        Depends::Calls => format!(
            "{name}() counts its calls, and a view is computed again and again: number the rows with \
             row_number() OVER (ORDER BY …)"
        ),
        Depends::Effect => format!("{name}() is called for its effect, and a view only has a value: leave it out"),
    })
}
