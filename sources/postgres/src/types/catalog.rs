//! From a column's type in the catalog to the type that its values are read as.

use std::collections::HashMap;

use super::catalog_row::TypeRow;
use super::error::UnsupportedType;
use super::pg_type::{PgType, StructField};
use super::policy::{NumericAs, Policy};

const NO_VALUES: &str = "leave the column out of the publication's column list, or keep it in a column of another \
                         type, for example text";
const UNKNOWN: &str = "the catalog has no such type any more: read the catalog again";
const TOO_DEEP: &str = "types may be nested 64 deep: keep the column as text or jsonb";
const NO_SUCH_DECIMAL: &str = "numeric = \"decimal(precision,scale)\" takes 1 to 38 digits, of which no more than all \
                               are after the point";
const MONEY_DIGITS: &str = "money_digits must be 19 or less";

/// Types nested deeper than this are refused; PostgreSQL has no recursive types, so a type that
/// is deeper is a catalog that changed while it was read.
const DEPTH_MAX: u8 = 64;
/// PostgreSQL's `MAXDIM`.
const DIMENSIONS_MAX: i32 = 6;
/// The digits of DuckDB's widest DECIMAL.
const DIGITS_MAX: i32 = 38;

/// The types of a database that some columns are made of, by oid.
#[derive(Debug, Clone, Default)]
pub struct TypeCatalog {
    rows: HashMap<u32, TypeRow>,
}

impl FromIterator<TypeRow> for TypeCatalog {
    fn from_iter<I: IntoIterator<Item = TypeRow>>(rows: I) -> Self {
        TypeCatalog { rows: rows.into_iter().map(|row| (row.oid, row)).collect() }
    }
}

impl TypeCatalog {
    /// The type of a column whose `pg_attribute` row has this `atttypid`, `atttypmod` and
    /// `attndims`. The catalog must hold the type and all that it is made of.
    pub fn resolve(
        &self,
        oid: u32,
        modifier: i32,
        dimensions: i32,
        policy: &Policy,
    ) -> Result<PgType, UnsupportedType> {
        Resolution { catalog: self, policy, depth: 0 }.resolve(oid, modifier, dimensions)
    }
}

struct Resolution<'a> {
    catalog: &'a TypeCatalog,
    policy: &'a Policy,
    depth: u8,
}

impl Resolution<'_> {
    fn resolve(&mut self, oid: u32, modifier: i32, dimensions: i32) -> Result<PgType, UnsupportedType> {
        let Some(row) = self.catalog.rows.get(&oid) else {
            return Err(UnsupportedType { postgres_type: format!("with oid {oid}"), way_out: UNKNOWN });
        };
        if self.depth == DEPTH_MAX {
            return Err(refused(row, TOO_DEEP));
        }
        self.depth += 1;
        let resolved = match row.kind {
            'p' => Err(refused(row, NO_VALUES)),
            'd' => self.resolve(row.base, row.base_modifier, row.base_dimensions),
            'c' => self.composite(row),
            _ if row.is_array => self.array(row, modifier, dimensions),
            'b' if row.schema == "pg_catalog" => self.built_in(row, modifier),
            'b' if row.name == "hstore" => Ok(PgType::Hstore),
            _ => Ok(PgType::Text),
        };
        self.depth -= 1;
        resolved
    }

    /// The elements have the modifier of the column. A box is written with semicolons between, so
    /// arrays of it are kept as text.
    fn array(&mut self, row: &TypeRow, modifier: i32, dimensions: i32) -> Result<PgType, UnsupportedType> {
        let element = self.catalog.rows.get(&row.element);
        if element.is_some_and(|e| e.schema == "pg_catalog" && e.name == "box") {
            return Ok(PgType::Text);
        }
        let element = self.resolve(row.element, modifier, 0)?;
        Ok(PgType::Array { element: Box::new(element), dimensions: dimensions.clamp(1, DIMENSIONS_MAX) as u8 })
    }

    /// DuckDB has no STRUCT without fields, and none with two fields that differ in case only:
    /// such composites are kept as text.
    fn composite(&mut self, row: &TypeRow) -> Result<PgType, UnsupportedType> {
        let mut fields: Vec<StructField> = Vec::with_capacity(row.attributes.len());
        for attribute in &row.attributes {
            if fields.iter().any(|field| field.name.eq_ignore_ascii_case(&attribute.name)) {
                return Ok(PgType::Text);
            }
            let pg_type = self.resolve(attribute.type_oid, attribute.modifier, attribute.dimensions)?;
            fields.push(StructField { name: attribute.name.clone(), pg_type });
        }
        Ok(if fields.is_empty() { PgType::Text } else { PgType::Composite(fields) })
    }

    fn built_in(&self, row: &TypeRow, modifier: i32) -> Result<PgType, UnsupportedType> {
        Ok(match row.name.as_str() {
            "bool" => PgType::Bool,
            "int2" => PgType::Int2,
            "int4" => PgType::Int4,
            "int8" => PgType::Int8,
            "oid" | "xid" | "cid" => PgType::Oid,
            "xid8" => PgType::Xid8,
            "float4" => PgType::Float4,
            "float8" => PgType::Float8,
            "numeric" => return self.numeric(row, modifier),
            "money" if self.policy.money_digits > 19 => return Err(refused(row, MONEY_DIGITS)),
            "money" => PgType::Money { digits: self.policy.money_digits },
            "date" => PgType::Date,
            "time" => PgType::Time,
            "timestamp" => PgType::Timestamp,
            "timestamptz" => PgType::TimestampTz,
            "interval" => PgType::Interval,
            "uuid" => PgType::Uuid,
            "json" | "jsonb" => PgType::Json,
            "bytea" => PgType::Bytea,
            _ => PgType::Text,
        })
    }

    fn numeric(&self, row: &TypeRow, modifier: i32) -> Result<PgType, UnsupportedType> {
        if let Some((precision, scale)) = decimal_of(modifier) {
            return Ok(PgType::Decimal { precision, scale });
        }
        match self.policy.numeric {
            numeric if !numeric.exists() => Err(refused(row, NO_SUCH_DECIMAL)),
            NumericAs::Varchar => Ok(PgType::Text),
            NumericAs::Double => Ok(PgType::NumericDouble),
            NumericAs::Decimal { precision, scale } => Ok(PgType::Decimal { precision, scale }),
        }
    }
}

/// The least DECIMAL that holds every value of a numeric with this modifier, which is
/// `((precision << 16) | (scale & 0x7ff)) + 4` with a scale of -1000 to 1000
/// (`make_numeric_typmod` in PostgreSQL's `numeric.c`); None without a modifier, or where 38 digits
/// do not suffice.
fn decimal_of(modifier: i32) -> Option<(u8, u8)> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    let precision = packed >> 16;
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let (precision, scale) = match scale {
        ..0 => (precision - scale, 0),
        _ => (precision.max(scale), scale),
    };
    (1..=DIGITS_MAX).contains(&precision).then_some((precision as u8, scale as u8))
}

fn refused(row: &TypeRow, way_out: &'static str) -> UnsupportedType {
    UnsupportedType { postgres_type: row.full_name(), way_out }
}
