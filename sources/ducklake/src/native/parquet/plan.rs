//! How the columns of the lake come out of one file: matched by field id or by name, level by level.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::cast::type_name;
use super::file::{field_id, leaf_of};
use super::files::Files;
use super::leaf::FileType;
use super::{DataFile, FileError, LakeColumn, Matching, NameMapping, Reading, Wanted, hive};

/// How a batch of the file becomes a batch of the lake.
#[derive(Debug)]
pub(super) struct Plan {
    /// The top-level columns of the file that are needed, ascending.
    pub(super) roots: Vec<usize>,
    /// One a column of the lake; a column of the file is the place of its root in `roots`.
    pub(super) columns: Vec<Source>,
    /// The place in `roots` of the snapshots, where they are read along.
    pub(super) snapshots: Option<usize>,
}

/// Where values come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The same value in every row.
    Constant(ArrayRef),
    /// A column or field of the file.
    Column { at: usize, convert: Convert },
}

/// How values are converted.
#[derive(Debug)]
pub(super) enum Convert {
    Leaf(Box<Leaf>),
    Struct { fields: Fields, children: Vec<Source> },
    List { item: FieldRef, values: Box<Convert> },
    Map { entries: FieldRef, key: Box<Convert>, value: Box<Convert> },
}

/// A leaf in the file and in the lake.
#[derive(Debug)]
pub(super) struct Leaf {
    /// For messages.
    pub(super) name: String,
    pub(super) from: FileType,
    pub(super) to: Field,
}

/// How the columns of one level are found.
#[derive(Clone, Copy)]
enum Finder<'a> {
    FieldIds,
    Names(&'a [NameMapping]),
}

/// What is found of a column.
enum Found<'a> {
    At(usize, Finder<'a>),
    Partition(&'a str),
    Missing,
}

/// One column in both worlds.
struct Pair<'a> {
    column: &'a LakeColumn,
    /// The canonical type.
    target: &'a DataType,
    /// The type in the file.
    found: &'a DataType,
    /// The first leaf of it in the file.
    leaf: usize,
    finder: Finder<'a>,
    /// For messages.
    name: String,
}

/// Matches the columns of the lake with those of a file.
pub(super) fn plan(files: &Files, file: &DataFile, reading: &Reading<'_>) -> Result<Plan, FileError> {
    let Reading { columns, schema, matching, wanted } = reading;
    let planner = Planner { files, file };
    let finder = match matching {
        Matching::FieldIds => Finder::FieldIds,
        Matching::Names(names) => Finder::Names(names),
    };
    if columns.len() != schema.fields().len() {
        let column = columns.last().map_or_else(String::new, |column| column.name.clone());
        return Err(FileError::Description { column });
    }
    let pairs = columns.iter().zip(schema.fields()).map(|(column, field)| (column, field.data_type(), &column.name));
    let mut sources = planner.level(pairs, file.fields(), 0, finder)?;
    // Where they decide what is wanted they are read before.
    let along = file.snapshot_column().filter(|_| !matches!(wanted, Wanted::Snapshots { .. }));
    let mut roots: Vec<usize> = sources.iter().filter_map(Source::at).chain(along).collect();
    roots.sort_unstable();
    roots.dedup();
    for source in &mut sources {
        if let Source::Column { at, .. } = source {
            *at = roots.binary_search(at).unwrap_or_default();
        }
    }
    let snapshots = along.and_then(|root| roots.binary_search(&root).ok());
    Ok(Plan { roots, columns: sources, snapshots })
}

impl Source {
    fn at(&self) -> Option<usize> {
        match self {
            Source::Constant(_) => None,
            Source::Column { at, .. } => Some(*at),
        }
    }
}

struct Planner<'a> {
    files: &'a Files,
    file: &'a DataFile,
}

impl Planner<'_> {
    /// The columns of one level: the table's, or the fields of a STRUCT.
    fn level<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a LakeColumn, &'a DataType, impl AsRef<str>)>,
        fields: &'a Fields,
        first_leaf: usize,
        finder: Finder<'a>,
    ) -> Result<Vec<Source>, FileError> {
        let source = |(column, target, name): (&'a LakeColumn, &'a DataType, _)| {
            let name = AsRef::<str>::as_ref(&name).to_owned();
            if column.field.data_type() != target {
                return Err(FileError::Description { column: name });
            }
            match self.find(column, &name, fields, finder)? {
                Found::Missing => match &column.default {
                    None => Ok(Source::Constant(new_null_array(target, 1))),
                    Some(default) if default.len() == 1 && default.data_type() == target => {
                        Ok(Source::Constant(default.clone()))
                    }
                    Some(_) => Err(FileError::Description { column: name }),
                },
                Found::Partition(key) => self.partition(column, &name, key),
                Found::At(at, finder) => {
                    let Some(field) = fields.get(at) else { return Err(FileError::Description { column: name }) };
                    let leaf = first_leaf + leaf_of(fields, at);
                    let found = field.data_type();
                    let convert = self.convert(Pair { column, target, found, leaf, finder, name })?;
                    Ok(Source::Column { at, convert })
                }
            }
        };
        wanted.map(source).collect()
    }

    fn find<'a>(
        &self,
        column: &LakeColumn,
        name: &str,
        fields: &Fields,
        finder: Finder<'a>,
    ) -> Result<Found<'a>, FileError> {
        if column.is_virtual() {
            let is_it = |field: &FieldRef| field_id(field).is_some_and(|id| i64::try_from(column.id) == Ok(id));
            let found = fields.iter().position(is_it);
            return Ok(found.map_or(Found::Missing, |at| Found::At(at, Finder::FieldIds)));
        }
        match finder {
            Finder::FieldIds => {
                if fields.iter().any(|field| field_id(field).is_none()) {
                    return Err(FileError::Unsupported {
                        file: self.file.path.clone(),
                        fact: "it has columns without field ids, and the catalog does not map names".to_owned(),
                    });
                }
                let id = i64::try_from(column.id).ok();
                let mut found =
                    fields.iter().enumerate().filter(|(_, field)| field_id(field).is_some_and(|i| Some(i) == id));
                match (found.next(), found.next()) {
                    (None, _) => Ok(Found::Missing),
                    (Some((at, _)), None) => Ok(Found::At(at, finder)),
                    _ => {
                        Err(self.file.contradiction(format!("two of its columns have the id {} of {name}", column.id)))
                    }
                }
            }
            Finder::Names(names) => {
                let Some(mapping) = names.iter().find(|mapping| mapping.target_id == column.id) else {
                    return Ok(Found::Missing);
                };
                if mapping.is_partition {
                    return Ok(Found::Partition(&mapping.source_name));
                }
                // Of names that differ in case alone DuckDB gives the later ones a number.
                let at = fields.iter().position(|field| field.name().eq_ignore_ascii_case(&mapping.source_name));
                let missing = || format!("it has no column {}, which the catalog maps to {name}", mapping.source_name);
                Ok(Found::At(at.ok_or_else(|| self.file.contradiction(missing()))?, Finder::Names(&mapping.children)))
            }
        }
    }

    /// The value in the file's path.
    fn partition(&self, column: &LakeColumn, name: &str, key: &str) -> Result<Source, FileError> {
        let missing = || self.file.contradiction(format!("its path has no {key}=…, which the catalog maps to {name}"));
        let escaped = hive::value(&self.file.path, key).ok_or_else(missing)?;
        let is_text = type_name(&column.field).eq_ignore_ascii_case("VARCHAR");
        if hive::is_null(escaped, is_text) {
            return Ok(Source::Constant(new_null_array(column.field.data_type(), 1)));
        }
        let text = hive::unescape(escaped);
        let text =
            text.ok_or_else(|| self.file.contradiction(format!("the value of {key} in its path is not UTF-8")))?;
        let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let parsed = self.files.caster.parse(text, &column.field);
        Ok(Source::Constant(parsed.map_err(|fault| fault.of(self.file, name, &column.field))?))
    }

    fn convert(&self, pair: Pair<'_>) -> Result<Convert, FileError> {
        let Pair { column, target, found, leaf, finder, name } = pair;
        let child = |at: usize| column.children.get(at).ok_or_else(|| FileError::Description { column: name.clone() });
        // The levels of lists and maps have no names of their own: what is mapped lies below.
        let below = |child: &LakeColumn| match finder {
            Finder::FieldIds => Finder::FieldIds,
            Finder::Names(names) => {
                let mapping = names.iter().find(|mapping| mapping.target_id == child.id);
                Finder::Names(mapping.map_or(&[], |mapping| mapping.children.as_slice()))
            }
        };
        match (target, found) {
            (DataType::Struct(fields), DataType::Struct(within)) => {
                if fields.len() != column.children.len() {
                    return Err(FileError::Description { column: name });
                }
                if matches!(finder, Finder::Names([])) {
                    return Err(self.file.contradiction(format!("the catalog does not map the fields of {name}")));
                }
                let wanted = column.children.iter().zip(fields);
                let wanted = wanted.map(|(c, field)| (c, field.data_type(), format!("{name}.{}", field.name())));
                Ok(Convert::Struct { fields: fields.clone(), children: self.level(wanted, within, leaf, finder)? })
            }
            (DataType::List(item), DataType::List(within)) => {
                let column = child(0)?;
                let (target, found, name) = (item.data_type(), within.data_type(), format!("{name}.element"));
                let values = self.convert(Pair { column, target, found, leaf, finder: below(column), name })?;
                Ok(Convert::List { item: item.clone(), values: Box::new(values) })
            }
            (DataType::Map(entries, _), DataType::Map(within, _)) => {
                let (DataType::Struct(targets), DataType::Struct(founds)) = (entries.data_type(), within.data_type())
                else {
                    return Err(FileError::Description { column: name });
                };
                let part = |at: usize, word: &str| {
                    let (Some(target), Some(found)) = (targets.get(at), founds.get(at)) else {
                        return Err(FileError::Description { column: name.clone() });
                    };
                    let (column, leaf) = (child(at)?, leaf + leaf_of(founds, at));
                    let (target, found, name) = (target.data_type(), found.data_type(), format!("{name}.{word}"));
                    self.convert(Pair { column, target, found, leaf, finder: below(column), name })
                };
                let (key, value) = (Box::new(part(0, "key")?), Box::new(part(1, "value")?));
                Ok(Convert::Map { entries: entries.clone(), key, value })
            }
            (target, found) if target.is_nested() || found.is_nested() => {
                let (wanted, found) = (type_name(&column.field), shape(found));
                Err(self.file.contradiction(format!("column {name} is {found} there and {wanted} in the catalog")))
            }
            (target, found) => {
                let declared = self.file.declared.columns().get(leaf);
                let from = declared.and_then(|declared| FileType::of(declared, found));
                let from = from.ok_or_else(|| FileError::Unsupported {
                    file: self.file.path.clone(),
                    fact: format!("column {name} has a type that only DuckDB reads"),
                })?;
                let to = column.field.as_ref().clone().with_data_type(target.clone());
                Ok(Convert::Leaf(Box::new(Leaf { name, from, to })))
            }
        }
    }
}

/// What a type is, without what is in it.
fn shape(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Struct(_) => "a STRUCT",
        DataType::Map(..) => "a MAP",
        DataType::List(_) => "a LIST",
        _ => "a plain value",
    }
}
