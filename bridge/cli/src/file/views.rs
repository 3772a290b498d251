//! The views of a pipeline: `sql` in the pipeline file, `sql_file`, or the files of `views_dir`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidegate_core::ViewName;
use tidegate_engine::ViewDef;

use super::document::{Document, Fault};
use super::past::{Kept, PastKeys};
use super::section::{Located, Section};
use super::settings::{Settings, fault_of_mode, settings_of};
use super::sql::{SqlFault, Statement, statements};
use super::track::Tracked;

/// A view and where its SELECT stands, so that what the planner says about a place in the SQL
/// becomes a place in a file.
#[derive(Debug)]
pub struct View {
    pub def: ViewDef,
    pub origin: Origin,
    /// Its past is kept.
    pub history: Option<Kept>,
    /// It is a tracked table.
    pub tracked: Option<Tracked>,
}

/// Where a SELECT begins.
#[derive(Debug, Clone)]
pub struct Origin {
    path: PathBuf,
    line: usize,
    column: usize,
    /// Whether the SELECT stands in the file letter by letter; else (escapes, variables) places
    /// within it are not places in the file.
    verbatim: bool,
}

impl Origin {
    /// A place that is not that of a SELECT.
    pub fn at(document: &Document, offset: usize) -> Origin {
        let (line, column) = document.place(offset);
        Origin { path: document.path().to_owned(), line, column, verbatim: false }
    }

    /// `shop.toml:12:1`
    pub fn place(&self) -> String {
        format!("{}:{}:{}", self.path.display(), self.line, self.column)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The fault at a line and column of the SELECT, both counted from one.
    pub fn fault(&self, within: Option<(usize, usize)>, message: &str) -> Fault {
        match within {
            Some((line, column)) if self.verbatim => {
                let column = if line == 1 { self.column + column - 1 } else { column };
                Fault::new(&self.path, (self.line + line - 1, column), message)
            }
            Some((line, column)) => Fault::new(
                &self.path,
                (self.line, self.column),
                format!("{message} (line {line}, column {column} of the SQL)"),
            ),
            None => Fault::new(&self.path, (self.line, self.column), message),
        }
    }
}

/// Where each view is defined, and its name as it is written there, by the name in lower case.
type Places = BTreeMap<String, (String, String)>;

fn place(document: &Document, offset: usize) -> String {
    let (line, column) = document.place(offset);
    format!("{}:{line}:{column}", document.path().display())
}

/// The views under `[views.*]` and of `views_dir`, by name.
pub fn read(
    document: &Document,
    folder: &Path,
    sections: Vec<(String, Section<'_>)>,
    views_dir: Option<Located<String>>,
    foreign: &mut Vec<Fault>,
) -> Vec<View> {
    let mut views: Vec<View> = Vec::new();
    let mut places = Places::new();
    for (name, section) in sections {
        let offset = section.offset();
        if !is_name(&name) {
            document.fault(offset, format!("`{name}` cannot name a view: {NAME_RULE}"));
        }
        if let Some((other, _)) = places.insert(name.to_lowercase(), (name.clone(), place(document, offset))) {
            document.fault(offset, format!("the views `{other}` and `{name}` differ by case alone: rename one"));
        }
        views.extend(view(document, folder, &name, section, foreign));
    }
    let Some(dir) = views_dir else { return views };
    match sql_files(&folder.join(&dir.value)) {
        Err(error) => document.fault(dir.offset, format!("views_dir `{}` cannot be read: {error}", dir.value)),
        Ok(files) if files.is_empty() => {
            document.fault(dir.offset, format!("views_dir `{}` holds no .sql files", dir.value));
        }
        Ok(files) => {
            for path in files {
                views.extend(views_of_file(&path, &mut places, foreign));
            }
        }
    }
    views
}

/// What names of views, sources and sinks look like: they become table names, folders and keys.
pub const NAME_RULE: &str = "use letters, digits and `_`, and begin with a letter or `_`";

/// Whether a name follows the [`NAME_RULE`].
pub fn is_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    first && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn view(
    document: &Document,
    folder: &Path,
    name: &str,
    mut section: Section<'_>,
    foreign: &mut Vec<Fault>,
) -> Option<View> {
    let offset = section.offset();
    let present = ["sql", "sql_file"].iter().filter(|key| section.place_of(key).is_some()).count();
    let sql = section.text("sql");
    let sql_file = section.text("sql_file");
    let key = section.texts("key");
    if let Some(mode) = section.text("mode") {
        fault_of_mode(&mode.value).into_iter().for_each(|fault| document.fault(mode.offset, fault));
    }
    let past = PastKeys::of_section(&mut section);
    section.not_built("keep_state");
    section.end();
    let key: Option<Vec<String>> = key.map(|columns| columns.into_iter().map(|column| column.value).collect());
    let (defined, origin) = match (sql, sql_file) {
        (Some(sql), None) if present == 1 => from_text(document, &sql, name)?,
        (None, Some(file)) if present == 1 => from_file(document, folder, &file, name, foreign)?,
        // What stands there is faulty, and has had its fault.
        _ if present == 1 => return None,
        _ => {
            let fact = if present == 0 { "has neither" } else { "has both" };
            document.fault(offset, format!("[views.{name}] {fact} `sql` and `sql_file`: write one of them"));
            return None;
        }
    };
    if key.is_some() && defined.settings.key.is_some() {
        document.fault(offset, format!("the key of `{name}` is given here and in its SQL: write it in one place"));
    }
    if past.any() && defined.settings.past.any() {
        document.fault(offset, format!("the history of `{name}` is said here and in its SQL: say it in one place"));
    }
    let history = match past.history() {
        Ok(Some(history)) => Some(Kept { history: history.value, origin: Origin::at(document, history.offset) }),
        Ok(None) => defined.history,
        Err(fault) => {
            document.fault(fault.offset, fault.value);
            None
        }
    };
    let key = key.or(defined.settings.key);
    let def = ViewDef { name: ViewName::new(name), sql: defined.select, key };
    Some(View { def, origin, history, tracked: None })
}

/// What the SQL of one view says.
struct Defined {
    select: String,
    /// Where the SELECT begins in the text.
    offset: usize,
    settings: Settings,
    /// The history that the settings say, at its place.
    history: Option<Kept>,
}

/// `sql = "SELECT …"`
fn from_text(document: &Document, sql: &Located<String>, name: &str) -> Option<(Defined, Origin)> {
    let raw = &document.text()[sql.offset..];
    let start = match raw.strip_prefix("\"\"\"").or_else(|| raw.strip_prefix("'''")) {
        // The line break after the opening quotes is not part of the string.
        Some(inside) if inside.starts_with("\r\n") => 5,
        Some(inside) if inside.starts_with('\n') => 4,
        Some(_) => 3,
        None => 1,
    };
    let verbatim = raw[start..].starts_with(&sql.value);
    let at = |offset: usize| sql.offset + if verbatim { start + offset } else { 0 };
    match single(&sql.value, name) {
        Ok(mut defined) => {
            let (line, column) = document.place(at(defined.offset));
            let origin = Origin { path: document.path().to_owned(), line, column, verbatim };
            let said = |offset| Origin::at(document, at(offset));
            defined.history = kept(&defined.settings, said, |fault| document.fault(at(fault.offset), fault.message));
            Some((defined, origin))
        }
        Err(faults) => {
            for fault in faults {
                document.fault(at(fault.offset), format!("[views.{name}] {}", fault.message));
            }
            None
        }
    }
}

/// `sql_file = "revenue.sql"`
fn from_file(
    document: &Document,
    folder: &Path,
    file: &Located<String>,
    name: &str,
    foreign: &mut Vec<Fault>,
) -> Option<(Defined, Origin)> {
    let path = folder.join(&file.value);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            document.fault(file.offset, format!("sql_file `{}` cannot be read: {error}", file.value));
            return None;
        }
    };
    let sql = Document::new(&path, text);
    match single(sql.text(), name) {
        Ok(mut defined) => {
            let origin = origin(&sql, defined.offset);
            let said = |offset| Origin::at(&sql, offset);
            defined.history = kept(&defined.settings, said, |fault| sql.fault(fault.offset, fault.message));
            foreign.extend(sql.into_faults());
            Some((defined, origin))
        }
        Err(faults) => {
            faults.into_iter().for_each(|fault| sql.fault(fault.offset, fault.message));
            foreign.extend(sql.into_faults());
            None
        }
    }
}

/// The history that settings say.
fn kept(settings: &Settings, at: impl Fn(usize) -> Origin, fault: impl FnOnce(SqlFault)) -> Option<Kept> {
    match settings.past.history() {
        Ok(history) => history.map(|history| Kept { history: history.value, origin: at(history.offset) }),
        Err(wrong) => {
            fault(SqlFault { offset: wrong.offset, message: wrong.value });
            None
        }
    }
}

fn origin(document: &Document, offset: usize) -> Origin {
    let (line, column) = document.place(offset);
    Origin { path: document.path().to_owned(), line, column, verbatim: true }
}

/// The one statement of a text that belongs to the view `name`.
fn single(text: &str, name: &str) -> Result<Defined, Vec<SqlFault>> {
    let fault = |offset: usize, message: String| Err(vec![SqlFault { offset, message }]);
    let mut all: Vec<Statement> = Vec::new();
    let mut faults = Vec::new();
    for statement in statements(text).map_err(|fault| vec![fault])? {
        match statement {
            Ok(statement) => all.push(statement),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let (Some(statement), others) = (all.pop(), all.len()) else {
        return fault(0, "there is no SELECT".to_owned());
    };
    if others > 0 {
        return fault(statement.offset, format!("one SELECT is expected, found {}", others + 1));
    }
    if let Some((other, offset)) = statement.name.as_ref().filter(|(other, _)| !other.eq_ignore_ascii_case(name)) {
        return fault(*offset, format!("the SQL creates `{other}`, the view is called `{name}`: use one name"));
    }
    let settings = settings_of(&statement, &mut faults);
    match faults.is_empty() {
        true => Ok(Defined { select: statement.select, offset: statement.offset, settings, history: None }),
        false => Err(faults),
    }
}

fn sql_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The views of a file in `views_dir`: a SELECT alone is named by the file.
fn views_of_file(path: &Path, places: &mut Places, foreign: &mut Vec<Fault>) -> Vec<View> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            foreign.push(Fault::of_file(path, format!("the file cannot be read: {error}")));
            return Vec::new();
        }
    };
    let sql = Document::new(path, text);
    let mut views = Vec::new();
    match statements(sql.text()) {
        Err(fault) => sql.fault(fault.offset, fault.message),
        Ok(all) if all.is_empty() => sql.fault(0, "there is no SELECT in the file"),
        Ok(all) => {
            let alone = all.len() == 1;
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let mut faults = Vec::new();
            for statement in all {
                match statement.and_then(|statement| view_of_statement(statement, alone.then_some(&stem), &mut faults))
                {
                    Ok((def, settings, named_at, offset)) => {
                        let name = def.name.as_str();
                        let known = (name.to_owned(), place(&sql, named_at));
                        if let Some((other, there)) = places.insert(name.to_lowercase(), known) {
                            let message = format!("there is a view `{other}` already, at {there}: rename `{name}`");
                            sql.fault(named_at, message);
                        }
                        let said = |offset| Origin::at(&sql, offset);
                        let history = kept(&settings, said, |fault| sql.fault(fault.offset, fault.message));
                        views.push(View { def, origin: origin(&sql, offset), history, tracked: None });
                    }
                    Err(fault) => faults.push(fault),
                }
            }
            faults.into_iter().for_each(|fault| sql.fault(fault.offset, fault.message));
        }
    }
    foreign.extend(sql.into_faults());
    views
}

/// The view of a statement, its settings, where it gets its name, and where its SELECT begins.
fn view_of_statement(
    statement: Statement,
    file: Option<&String>,
    faults: &mut Vec<SqlFault>,
) -> Result<(ViewDef, Settings, usize, usize), SqlFault> {
    let settings = settings_of(&statement, faults);
    let offset = statement.offset;
    let Some((name, named_at)) = statement.name.or_else(|| Some((file?.clone(), offset))) else {
        let message = "of several statements each is CREATE MATERIALIZED VIEW name AS SELECT …".to_owned();
        return Err(SqlFault { offset, message });
    };
    if !is_name(&name) {
        faults.push(SqlFault { offset: named_at, message: format!("`{name}` cannot name a view: {NAME_RULE}") });
    }
    let def = ViewDef { name: ViewName::new(name), sql: statement.select, key: settings.key.clone() };
    Ok((def, settings, named_at, offset))
}
