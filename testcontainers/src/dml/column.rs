//! What the generated tables are made of: columns with small domains, written as SQL.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

pub const NULL: &str = "NULL";

/// A column and what its values are drawn from, as SQL.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub sql_type: String,
    pub values: Vec<String>,
    /// The fields of a STRUCT by name, with their types; other columns have none.
    pub fields: Vec<(String, &'static str)>,
}

/// A column as it is written down here.
type Drawn = (&'static str, &'static str, &'static [&'static str]);

const ORDERS: &[Drawn] = &[
    ("id", "INTEGER", &["1", "2", "3", "4", "5", "6", "7", "8", "9", NULL]),
    ("customer", "INTEGER", &["1", "2", "3", "4", NULL]),
    ("amount", "DECIMAL(9,2)", &["0.01", "-5.50", "10", "10", "99.99", "1000000.25", NULL]),
    ("qty", "BIGINT", &["0", "1", "2", "-1", "9007199254740993", NULL]),
    ("note", "VARCHAR", &["''", "'a'", "'A'", "'ß'", "'it''s'", "'long enough to leave the row'", NULL]),
    ("price", "DOUBLE", &["0.5", "'-0.0'::DOUBLE", "0.0", "1.25", "-3.0", NULL]),
    ("day", "DATE", &["DATE '2024-02-29'", "DATE '1969-12-31'", "DATE '2025-01-01'", NULL]),
];

const CUSTOMERS: &[Drawn] = &[
    ("id", "INTEGER", &["1", "2", "3", "4", NULL]),
    ("region", "VARCHAR", &["'north'", "'south'", "'South'", NULL]),
    ("active", "BOOLEAN", &["true", "false", NULL]),
];

const EVENTS: &[Drawn] = &[
    ("kind", "VARCHAR", &["'x'", "'y'", NULL]),
    ("at", "TIMESTAMP", &["TIMESTAMP '2024-01-01 00:00:00'", "TIMESTAMP '2024-01-01 00:00:00.000001'", NULL]),
    ("n", "SMALLINT", &["1", "2", NULL]),
];

/// The tables that every generated lake begins with.
pub const TABLES: [(&str, &[Drawn]); 3] = [("orders", ORDERS), ("customers", CUSTOMERS), ("events", EVENTS)];

/// What a column that is added later may be.
const ADDED: &[(&str, &[&str])] = &[
    ("INTEGER", &["0", "1", "-7", NULL]),
    ("SMALLINT", &["3", "32767", NULL]),
    ("FLOAT", &["0.5", "-2.25", NULL]),
    ("VARCHAR", &["'p'", "''", "'it''s'", NULL]),
    ("DECIMAL(9,2)", &["0.01", "-5.50", NULL]),
    ("TIMESTAMPTZ", &["TIMESTAMPTZ '2024-02-29 12:00:00+05'", NULL]),
    ("INTEGER[]", &["[1, NULL]", "[]", NULL]),
];

/// What a field of a STRUCT may be. Its texts have neither quotes nor backslashes: inlined in PostgreSQL or SQLite,
/// DuckLake loses those inside STRUCTs.
const FIELDS: &[(&str, &[&str])] = &[("INTEGER", &["1", "2", NULL]), ("VARCHAR", &["'x'", "'y z'", NULL])];

impl Column {
    pub fn of((name, sql_type, values): &Drawn) -> Self {
        Column {
            name: (*name).to_owned(),
            sql_type: (*sql_type).to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            fields: Vec::new(),
        }
    }

    /// Any column of this name.
    pub fn any(name: &str, rng: &mut StdRng) -> Self {
        if rng.random_ratio(1, 3) {
            return Column::of_fields(name);
        }
        let (sql_type, values) = ADDED.choose(rng).expect("the list is not empty");
        let column = Column::of(&("", sql_type, values));
        Column { name: name.to_owned(), ..column }
    }

    /// A field's type that is drawn.
    pub fn any_field(rng: &mut StdRng) -> &'static str {
        FIELDS.choose(rng).expect("the list is not empty").0
    }

    /// Makes type and values of a STRUCT what its fields say.
    pub fn fields_changed(&mut self) {
        let fields: Vec<_> = self.fields.iter().map(|(name, sql_type)| format!("\"{name}\" {sql_type}")).collect();
        self.sql_type = format!("STRUCT({})", fields.join(", "));
        let value = |pick: usize| {
            let fields = self.fields.iter().enumerate().map(|(place, (name, sql_type))| {
                let values = FIELDS.iter().find(|field| field.0 == *sql_type).map_or(&[NULL][..], |field| field.1);
                format!("'{name}': {}", values[(pick + place) % values.len()])
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        };
        self.values = vec![value(0), value(1), value(2), NULL.to_owned()];
    }

    /// One of its values.
    pub fn value(&self, rng: &mut StdRng) -> String {
        self.values.choose(rng).map_or(NULL, String::as_str).to_owned()
    }

    /// One of its values, written so that it has the column's type.
    pub fn typed_value(&self, rng: &mut StdRng) -> String {
        format!("CAST({} AS {})", self.value(rng), self.sql_type)
    }

    pub fn is_nested(&self) -> bool {
        !self.fields.is_empty() || self.sql_type.ends_with("[]")
    }

    /// A STRUCT with two fields.
    pub fn of_fields(name: &str) -> Self {
        let fields = vec![("a".to_owned(), FIELDS[0].0), ("b".to_owned(), FIELDS[1].0)];
        let mut column = Column { name: name.to_owned(), sql_type: String::new(), values: Vec::new(), fields };
        column.fields_changed();
        column
    }

    /// A type that holds all values of this one.
    pub fn wider(&self) -> Option<&'static str> {
        match self.sql_type.as_str() {
            "SMALLINT" => Some("INTEGER"),
            "INTEGER" => Some("BIGINT"),
            "FLOAT" => Some("DOUBLE"),
            _ => None,
        }
    }

    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.name)
    }

    /// As it stands in CREATE TABLE.
    pub fn definition(&self) -> String {
        format!("{} {}", self.quoted(), self.sql_type)
    }
}

/// A table of the generated lake.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// Columns that plain schema changes added, by number.
    pub added: Vec<u32>,
    /// Whether it exists now.
    pub exists: bool,
    /// Names of columns that were dropped.
    pub dropped: Vec<String>,
}

impl Table {
    pub fn of((name, columns): &(&str, &[Drawn])) -> Self {
        Table {
            name: (*name).to_owned(),
            columns: columns.iter().map(Column::of).collect(),
            added: Vec::new(),
            exists: true,
            dropped: Vec::new(),
        }
    }

    /// Its columns, quoted, as in the head of an INSERT.
    pub fn names(&self) -> String {
        let fixed = self.columns.iter().map(Column::quoted);
        fixed.chain(self.added.iter().map(|column| format!("\"added_{column}\""))).collect::<Vec<_>>().join(", ")
    }

    /// CREATE TABLE with the columns that it has.
    pub fn create(&self, lake: &str) -> String {
        let columns: Vec<_> = self.columns.iter().map(Column::definition).collect();
        format!("CREATE TABLE {lake}.{} ({})", self.name, columns.join(", "))
    }

    pub fn any_column(&self, rng: &mut StdRng) -> &Column {
        &self.columns[rng.random_range(0..self.columns.len())]
    }
}
