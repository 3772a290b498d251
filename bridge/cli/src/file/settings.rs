//! What `WITH (…)` of a `CREATE MATERIALIZED VIEW` says: the settings that `[views.NAME]` has in the pipeline file.

use tidegate_core::near::did_you_mean;

use super::sql::{SqlFault, Statement, columns};

/// The settings there are.
const SETTINGS: [&str; 2] = ["key", "mode"];

/// What is wrong with a view's mode, if anything.
pub fn fault_of_mode(mode: &str) -> Option<String> {
    let fact = match mode {
        "incremental" => return None,
        "full" => "is not built yet",
        _ => "is no mode of a view",
    };
    Some(format!("mode `{mode}` {fact}: write \"incremental\" or leave it out"))
}

/// The key that a statement gives its view; every fault in its settings.
pub fn key_of(statement: &Statement, faults: &mut Vec<SqlFault>) -> Option<Vec<String>> {
    let mut key = None;
    for (position, setting) in statement.settings.iter().enumerate() {
        let mut fault = |message: String| faults.push(SqlFault { offset: setting.offset, message });
        let name = setting.name.as_str();
        if statement.settings.iter().take(position).any(|other| other.name == setting.name) {
            fault(format!("`{name}` is set twice: write it once"));
            continue;
        }
        match name {
            "key" => {
                key = columns(&setting.value);
                if key.is_none() {
                    fault("`key` is a list of columns: write key = 'one, another'".to_owned());
                }
            }
            "mode" => fault_of_mode(&setting.value.to_lowercase()).into_iter().for_each(fault),
            "temporal" | "keep_state" => fault(format!("`{name}` is not built yet: remove it from WITH (…)")),
            _ => fault(format!("unknown setting `{name}` of a view{}", did_you_mean(name, SETTINGS))),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::super::sql::statements;
    use super::*;

    fn read(settings: &str) -> (Option<Vec<String>>, Vec<String>) {
        let text = format!("CREATE MATERIALIZED VIEW v WITH ({settings}) AS SELECT 1");
        let statement = statements(&text).unwrap().remove(0).unwrap();
        let mut faults = Vec::new();
        let key = key_of(&statement, &mut faults);
        (key, faults.into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn keys_are_columns() {
        assert_eq!(read("key = 'a, \"b c\"'"), (Some(vec!["a".to_owned(), "b c".to_owned()]), Vec::new()));
        assert_eq!(read("KEY = a, mode = 'incremental'"), (Some(vec!["a".to_owned()]), Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (settings, words) in [
            ("key = 'a,'", "list of columns"),
            ("key = a, key = b", "`key` is set twice"),
            ("mode = full", "mode `full` is not built yet"),
            ("mode = quick", "mode `quick` is no mode of a view"),
            ("temporal = true", "`temporal` is not built yet"),
            ("keep_state = false", "`keep_state` is not built yet"),
            ("kee = a", "unknown setting `kee` of a view; did you mean `key`?"),
        ] {
            let (_, faults) = read(settings);
            assert!(faults.len() == 1 && faults[0].contains(words), "{settings}: {faults:?}");
        }
    }
}
