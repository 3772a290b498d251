//! What `WITH (…)` of a `CREATE MATERIALIZED VIEW` says: the settings that `[views.NAME]` has in the pipeline file.

use tidegate_core::near::did_you_mean;
use tidegate_core::units;

use super::past::PastKeys;
use super::section::Located;
use super::sql::{SqlFault, Statement, columns};

/// The settings there are.
const SETTINGS: [&str; 4] = ["key", "mode", "temporal", "history_retention"];

/// What a statement says about its view.
#[derive(Debug, Default)]
pub struct Settings {
    pub key: Option<Vec<String>>,
    /// Offsets are those of the statement's text.
    pub past: PastKeys,
}

/// What is wrong with a view's mode, if anything.
pub fn fault_of_mode(mode: &str) -> Option<String> {
    let fact = match mode {
        "incremental" => return None,
        "full" => "is not built yet",
        _ => "is no mode of a view",
    };
    Some(format!("mode `{mode}` {fact}: write \"incremental\" or leave it out"))
}

/// The settings that a statement gives its view; every fault in them.
pub fn settings_of(statement: &Statement, faults: &mut Vec<SqlFault>) -> Settings {
    let mut found = Settings::default();
    for (position, setting) in statement.settings.iter().enumerate() {
        let mut fault = |message: String| faults.push(SqlFault { offset: setting.offset, message });
        let name = setting.name.as_str();
        if statement.settings.iter().take(position).any(|other| other.name == setting.name) {
            fault(format!("`{name}` is set twice: write it once"));
            continue;
        }
        match name {
            "key" => {
                found.key = columns(&setting.value);
                if found.key.is_none() {
                    fault("`key` is a list of columns: write key = 'one, another'".to_owned());
                }
            }
            "mode" => fault_of_mode(&setting.value.to_lowercase()).into_iter().for_each(fault),
            "temporal" => match setting.value.to_lowercase().as_str() {
                value @ ("true" | "false") => {
                    found.past.temporal = Some(Located { value: value == "true", offset: setting.offset });
                }
                _ => fault("`temporal` is true or false".to_owned()),
            },
            "history_retention" => match units::duration(&setting.value) {
                Some(value) => found.past.retention = Some(Located { value, offset: setting.offset }),
                None => fault(format!("`{}` is not a duration: write for example '90d'", setting.value)),
            },
            "keep_state" => fault(format!("`{name}` is not built yet: remove it from WITH (…)")),
            _ => fault(format!("unknown setting `{name}` of a view{}", did_you_mean(name, SETTINGS))),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::sql::statements;
    use super::*;

    fn read(settings: &str) -> (Option<Vec<String>>, Vec<String>) {
        let text = format!("CREATE MATERIALIZED VIEW v WITH ({settings}) AS SELECT 1");
        let statement = statements(&text).unwrap().remove(0).unwrap();
        let mut faults = Vec::new();
        let key = settings_of(&statement, &mut faults).key;
        (key, faults.into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn keys_are_columns() {
        assert_eq!(read("key = 'a, \"b c\"'"), (Some(vec!["a".to_owned(), "b c".to_owned()]), Vec::new()));
        assert_eq!(read("KEY = a, mode = 'incremental'"), (Some(vec!["a".to_owned()]), Vec::new()));
    }

    #[test]
    fn histories_are_kept_for_a_time_or_for_ever() {
        let read = |settings: &str| {
            let text = format!("CREATE MATERIALIZED VIEW v WITH ({settings}) AS SELECT 1");
            let statement = statements(&text).unwrap().remove(0).unwrap();
            let past = settings_of(&statement, &mut Vec::new()).past;
            past.history().map(|history| history.map(|history| history.value.retention)).map_err(|fault| fault.value)
        };
        assert_eq!(read("temporal = true"), Ok(Some(None)));
        assert_eq!(read("Temporal = TRUE, history_retention = '2d'"), Ok(Some(units::duration("2d"))));
        assert_eq!(read("temporal = false"), Ok(None));
        assert!(read("history_retention = '2d'").unwrap_err().contains("add `temporal = true`"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (settings, words) in [
            ("key = 'a,'", "list of columns"),
            ("key = a, key = b", "`key` is set twice"),
            ("mode = full", "mode `full` is not built yet"),
            ("mode = quick", "mode `quick` is no mode of a view"),
            ("temporal = 1", "`temporal` is true or false"),
            ("temporal = true, history_retention = 'long'", "`long` is not a duration"),
            ("keep_state = false", "`keep_state` is not built yet"),
            ("kee = a", "unknown setting `kee` of a view; did you mean `key`?"),
        ] {
            let (_, faults) = read(settings);
            assert!(faults.len() == 1 && faults[0].contains(words), "{settings}: {faults:?}");
        }
    }
}
