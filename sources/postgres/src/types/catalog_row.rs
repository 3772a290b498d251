//! What the catalog says about a type: one row of the catalog query.

/// The types of some columns and all types that these are made of: elements of arrays, base types
/// of domains, attributes of composites. `$1` is the oids of the columns' types, `oid[]`. One row
/// a type, in no order; works on PostgreSQL 13 to 18. The columns are those of
/// [`TypeRow::COLUMNS`], none of them is ever NULL.
///
/// An array counts as one when its element's `typarray` names it, which leaves out `int2vector`
/// and `oidvector`, and when its elements are separated by commas, which leaves out arrays of
/// `box` and of PostGIS's types.
pub const TYPES_SQL: &str = "\
WITH RECURSIVE reached (oid) AS (
    SELECT pg_catalog.unnest($1::pg_catalog.oid[])
    UNION
    SELECT part.oid
    FROM reached
    JOIN pg_catalog.pg_type AS t ON t.oid = reached.oid
    CROSS JOIN LATERAL (
        SELECT e.oid FROM pg_catalog.pg_type AS e WHERE e.oid = t.typelem AND e.typarray = t.oid
        UNION ALL
        SELECT t.typbasetype WHERE t.typtype = 'd'
        UNION ALL
        SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS part (oid)
)
SELECT
    t.oid AS oid,
    t.typname::pg_catalog.text AS name,
    n.nspname::pg_catalog.text AS schema,
    t.typtype::pg_catalog.text AS kind,
    t.typcategory::pg_catalog.text AS category,
    t.typelem AS element,
    EXISTS (
        SELECT FROM pg_catalog.pg_type AS e
        WHERE e.oid = t.typelem AND e.typarray = t.oid AND e.typdelim = ','
    ) AS is_array,
    t.typbasetype AS base,
    t.typtypmod AS base_modifier,
    t.typndims::pg_catalog.int4 AS base_dimensions,
    a.names AS attribute_names,
    a.types AS attribute_types,
    a.modifiers AS attribute_modifiers,
    a.dimensions AS attribute_dimensions
FROM reached
JOIN pg_catalog.pg_type AS t ON t.oid = reached.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
CROSS JOIN LATERAL (
    SELECT
        COALESCE(pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum), '{}') AS names,
        COALESCE(pg_catalog.array_agg(a.atttypid ORDER BY a.attnum), '{}') AS types,
        COALESCE(pg_catalog.array_agg(a.atttypmod ORDER BY a.attnum), '{}') AS modifiers,
        COALESCE(pg_catalog.array_agg(a.attndims::pg_catalog.int4 ORDER BY a.attnum), '{}') AS dimensions
    FROM pg_catalog.pg_attribute AS a
    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
) AS a";

/// One type, as [`TYPES_SQL`] gives it. The names in backquotes are columns of `pg_type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeRow {
    /// `oid`.
    pub oid: u32,
    /// `typname`, unquoted.
    pub name: String,
    /// The name of the schema that it is in, unquoted.
    pub schema: String,
    /// `typtype`: `b` base, `c` composite, `d` domain, `e` enum, `m` multirange, `p` pseudo, `r`
    /// range.
    pub kind: char,
    /// `typcategory`.
    pub category: char,
    /// `typelem`; zero where there is none.
    pub element: u32,
    /// A true array, whose text has commas between the elements.
    pub is_array: bool,
    /// `typbasetype` of a domain, else zero.
    pub base: u32,
    /// `typtypmod` of a domain; -1 where there is none.
    pub base_modifier: i32,
    /// `typndims` of a domain over an array, else zero.
    pub base_dimensions: i32,
    /// The attributes of a composite that are not dropped, in order; else empty.
    pub attributes: Vec<Attribute>,
}

impl TypeRow {
    /// The columns of [`TYPES_SQL`] in order, each with its PostgreSQL type. In Rust: `oid` is
    /// `u32`, `text` is `String` (`kind` and `category` hold one character), `int4` is `i32`.
    pub const COLUMNS: [(&'static str, &'static str); 14] = [
        ("oid", "oid"),
        ("name", "text"),
        ("schema", "text"),
        ("kind", "text"),
        ("category", "text"),
        ("element", "oid"),
        ("is_array", "bool"),
        ("base", "oid"),
        ("base_modifier", "int4"),
        ("base_dimensions", "int4"),
        ("attribute_names", "text[]"),
        ("attribute_types", "oid[]"),
        ("attribute_modifiers", "int4[]"),
        ("attribute_dimensions", "int4[]"),
    ];

    /// The type's name for messages.
    pub(super) fn full_name(&self) -> String {
        if self.schema == "pg_catalog" { self.name.clone() } else { format!("{}.{}", self.schema, self.name) }
    }
}

/// One attribute of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// `attname`, unquoted.
    pub name: String,
    /// `atttypid`.
    pub type_oid: u32,
    /// `atttypmod`; -1 where there is none.
    pub modifier: i32,
    /// `attndims`.
    pub dimensions: i32,
}

impl Attribute {
    /// Puts the four array columns of [`TYPES_SQL`] together, which are equally long.
    pub fn zip(names: Vec<String>, types: Vec<u32>, modifiers: Vec<i32>, dimensions: Vec<i32>) -> Vec<Attribute> {
        let numbers = types.into_iter().zip(modifiers).zip(dimensions);
        let attributes = names.into_iter().zip(numbers);
        attributes
            .map(|(name, ((type_oid, modifier), dimensions))| Attribute { name, type_oid, modifier, dimensions })
            .collect()
    }
}
