//! SQL as a tree that knows what can be left out of it, whatever it says.

use super::value_type::ValueType;

/// A piece of SQL.
#[derive(Debug, Clone, PartialEq)]
pub enum Sql {
    /// As it is.
    Text(String),
    /// One after another.
    Sequence(Vec<Sql>),
    /// Parts with a separator between them, of which `least` must stay.
    List { parts: Vec<Sql>, separator: &'static str, least: usize },
    /// Something that may be left out.
    Clause(Box<Sql>),
    /// An expression: something of its type may stand in its place.
    Expression(ValueType, Box<Sql>),
    /// A query: a query inside it may stand in its place.
    Query(Box<Sql>),
    /// What FROM reads: a relation inside it may stand in its place.
    Relation(Box<Sql>),
}

/// Pieces one after another.
macro_rules! sql {
    ($($part:expr),* $(,)?) => {
        $crate::generator::sql::Sql::Sequence(vec![$($crate::generator::sql::Sql::from($part)),*])
    };
}
pub(crate) use sql;

impl From<&str> for Sql {
    fn from(text: &str) -> Self {
        Sql::Text(text.to_owned())
    }
}

impl From<String> for Sql {
    fn from(text: String) -> Self {
        Sql::Text(text)
    }
}

impl From<&Sql> for Sql {
    fn from(sql: &Sql) -> Self {
        sql.clone()
    }
}

impl Sql {
    pub fn list(parts: Vec<Sql>, separator: &'static str, least: usize) -> Sql {
        Sql::List { parts, separator, least }
    }

    pub fn clause(self) -> Sql {
        Sql::Clause(Box::new(self))
    }

    pub fn expression(self, value_type: ValueType) -> Sql {
        Sql::Expression(value_type, Box::new(self))
    }

    pub fn query(self) -> Sql {
        Sql::Query(Box::new(self))
    }

    pub fn relation(self) -> Sql {
        Sql::Relation(Box::new(self))
    }

    /// The SQL as text.
    pub fn text(&self) -> String {
        match self {
            Sql::Text(text) => text.clone(),
            Sql::Sequence(parts) => parts.iter().map(Sql::text).collect(),
            Sql::List { parts, separator, .. } => parts.iter().map(Sql::text).collect::<Vec<_>>().join(separator),
            Sql::Clause(inner) | Sql::Expression(_, inner) | Sql::Query(inner) | Sql::Relation(inner) => inner.text(),
        }
    }

    /// Every way to make the SQL smaller by one step, those that leave out most first.
    pub fn smaller(&self) -> Vec<Sql> {
        let mut found = self.smaller_here();
        for (position, child) in self.children().iter().enumerate() {
            found.extend(child.smaller().into_iter().map(|child| self.with_child(position, child)));
        }
        found
    }

    fn smaller_here(&self) -> Vec<Sql> {
        match self {
            Sql::Text(_) | Sql::Sequence(_) => Vec::new(),
            Sql::List { parts, separator, least } => {
                let keep = |kept: Vec<Sql>| Sql::list(kept, separator, *least);
                let mut found = Vec::new();
                if parts.len() / 2 > *least {
                    found.push(keep(parts[parts.len() / 2..].to_vec()));
                    found.push(keep(parts[..parts.len() / 2].to_vec()));
                }
                if parts.len() > *least {
                    found.extend((0..parts.len()).map(|left_out| {
                        let kept = parts.iter().enumerate().filter(|(position, _)| *position != left_out);
                        keep(kept.map(|(_, part)| part.clone()).collect())
                    }));
                }
                found
            }
            Sql::Clause(_) => vec![Sql::from("")],
            Sql::Expression(value_type, inner) => {
                let mut found = vec![Sql::from(format!("CAST(NULL AS {})", value_type.name()))];
                found.push(Sql::from(value_type.literal(0)));
                inner.collect(&mut found, &|sql| matches!(sql, Sql::Expression(..)));
                found
            }
            Sql::Query(inner) => {
                let mut found = Vec::new();
                inner.collect(&mut found, &|sql| matches!(sql, Sql::Query(_)));
                found
            }
            Sql::Relation(inner) => {
                let mut found = Vec::new();
                inner.collect(&mut found, &|sql| matches!(sql, Sql::Relation(_)));
                found
            }
        }
    }

    /// Adds the nearest pieces below that `wanted` says.
    fn collect(&self, found: &mut Vec<Sql>, wanted: &dyn Fn(&Sql) -> bool) {
        if wanted(self) {
            found.push(self.clone());
            return;
        }
        self.children().iter().for_each(|child| child.collect(found, wanted));
    }

    fn children(&self) -> &[Sql] {
        match self {
            Sql::Text(_) => &[],
            Sql::Sequence(parts) | Sql::List { parts, .. } => parts,
            Sql::Clause(inner) | Sql::Expression(_, inner) | Sql::Query(inner) | Sql::Relation(inner) => {
                std::slice::from_ref(inner)
            }
        }
    }

    fn with_child(&self, position: usize, child: Sql) -> Sql {
        let replaced = |parts: &[Sql]| {
            let mut parts = parts.to_vec();
            parts[position] = child.clone();
            parts
        };
        match self {
            Sql::Text(_) => child,
            Sql::Sequence(parts) => Sql::Sequence(replaced(parts)),
            Sql::List { parts, separator, least } => Sql::list(replaced(parts), separator, *least),
            Sql::Clause(_) => child.clause(),
            Sql::Expression(value_type, _) => child.expression(*value_type),
            Sql::Query(_) => child.query(),
            Sql::Relation(_) => child.relation(),
        }
    }
}
