//! Parts of pipeline files are read by the program's own reader, completed with what every pipeline file has.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::session::Session;

/// The file that is read.
const FILE: &str = "book.toml";

/// What a part of a pipeline file lacks to be one: a name and a state folder, a lake, a view, those views that its sinks name, and
/// a mart. Nothing of what it says is changed.
pub fn completed(text: &str) -> Result<String, String> {
    let said: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let table = |key: &str| said.get(key).and_then(Value::as_table);
    let mut whole = text.to_owned();
    let head = table("pipeline");
    let lacks = |key: &str| head.is_none_or(|head| !head.contains_key(key));
    let lines = ["name", "state_dir"].map(|key| if lacks(key) { format!("{key} = \"book\"\n") } else { String::new() });
    match whole.find("[pipeline]\n") {
        Some(at) => whole.insert_str(at + "[pipeline]\n".len(), &lines.concat()),
        None => whole += &format!("\n[pipeline]\n{}", lines.concat()),
    }
    if table("sources").is_none() && lacks("branch_of") {
        whole += "\n[sources.lake]\ntype = \"ducklake\"\ncatalog = \"ducklake:lake.ducklake\"\n";
    }
    let mut views: BTreeSet<String> = table("views").into_iter().flat_map(|views| views.keys().cloned()).collect();
    views.extend(table("track").into_iter().flat_map(|tracked| tracked.keys().map(|name| name.replace('.', "_"))));
    let sinks = || table("sinks").into_iter().flat_map(|sinks| sinks.values());
    let named = sinks().filter_map(|sink| sink.get("views")?.as_array()).flatten().filter_map(Value::as_str);
    let mut added: BTreeSet<String> = named.filter(|name| !views.contains(*name)).map(str::to_owned).collect();
    if views.is_empty() && added.is_empty() && lacks("views_dir") {
        added.insert("book".to_owned());
    }
    for view in added {
        whole += &format!("\n[views.{view}]\nsql = \"SELECT 1 AS one\"\n");
    }
    if sinks().next().is_none() {
        whole += "\n[sinks.book]\ntype = \"duckdb\"\npath = \"book.duckdb\"\n";
    }
    Ok(whole)
}

/// The variables that a text names and that have no default.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
    names.filter(|name| !name.contains(":-"))
}

/// Reads a pipeline file, or a part of one, as the program does, and answers what was read. A variable has the value that is given for it, else `x`.
pub fn read(text: &str, value: Option<&(String, String)>, session: &Session) -> Result<String, String> {
    let whole = completed(text)?;
    // In the page's folder, since files that it names are looked for beside it.
    session.write(FILE, &whole)?;
    let file = session.place().join(FILE);
    // Nothing has been run: that there is no state is what `status` says of a file without a fault.
    let program = session.tidegate().arguments(["status".to_owned(), file.display().to_string()]);
    let program = variables(text).fold(program, |program, name| program.variable(name, "x"));
    let ended = value.iter().fold(program, |program, (name, value)| program.variable(name, value)).run();
    match ended.stderr.contains("there is no state in") || ended.code() == Some(0) {
        true => Ok(whole),
        false => Err(format!("the program does not read this:\n{}\n{whole}", ended.stderr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_completed_and_not_changed() {
        let whole = completed(
            "[sinks.mart]\ntype = \"duckdb\"\npath = \"m\"\nviews = [\"a\", \"lake_b\"]\n\n[track.\"lake.b\"]\nkey = [\"id\"]\n",
        );
        let whole: Table = whole.unwrap().parse().unwrap();
        let keys = |table: &str| whole[table].as_table().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            (keys("views"), keys("sinks"), keys("sources")),
            (vec!["a".into()], vec!["mart".into()], vec!["lake".into()])
        );
        assert_eq!(whole["pipeline"]["name"].as_str(), Some("book"));
        let text = "[pipeline]\nname = \"shop\"\nviews_dir = \"views\"\n";
        let whole: Table = completed(text).unwrap().parse().unwrap();
        assert_eq!(
            (whole["pipeline"]["name"].as_str(), whole["pipeline"]["state_dir"].as_str()),
            (Some("shop"), Some("book"))
        );
        assert!(!whole.contains_key("views"));
    }
}
