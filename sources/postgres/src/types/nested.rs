//! Columns made of other columns: lists, structs and maps. A value that turns out faulty halfway
//! is cut off from all of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, MapArray, StructArray};
use arrow::datatypes::{Field, Fields};

use super::buffer::{Ends, Validity};
use super::column::{Column, Unrepresentables};
use super::error::Fault;
use super::text::array::ArrayText;
use super::text::composite::CompositeText;
use super::text::hstore::HstorePairs;

const OTHER_DIMENSIONS: Fault =
    Fault::Unrepresentable("an array has another number of dimensions than its column is declared with");
const NULL_KEY: Fault = Fault::Malformed("an hstore has a key that is NULL");

/// A column whose values are read piece by piece into the columns that it is made of.
trait Nested: Column {
    /// Reads a value into those columns; where that fails, some of them may have grown.
    fn read(&mut self, text: &[u8], policy: &mut Unrepresentables) -> Result<(), Fault>;

    fn validity(&mut self) -> &mut Validity;
}

/// Appends a value, or nothing at all.
fn append_whole(column: &mut impl Nested, text: &[u8], policy: &mut Unrepresentables) -> Result<(), Fault> {
    let before = column.len();
    let read = column.read(text, policy);
    match read {
        Ok(()) => column.validity().0.append_non_null(),
        Err(_) => column.truncate(before),
    }
    read
}

/// Arrays of any fixed number of dimensions.
pub(super) struct Lists {
    /// The ends of the lists at each depth, the outermost, one a value, first.
    levels: Vec<Ends>,
    validity: Validity,
    element: Box<dyn Column>,
    room: Vec<u8>,
}

impl Lists {
    pub(super) fn new(element: Box<dyn Column>, dimensions: u8) -> Self {
        let levels = (0..dimensions.max(1)).map(|_| Ends::default()).collect();
        Lists { levels, validity: Validity::default(), element, room: Vec::new() }
    }

    fn read_list(&mut self, depth: usize, text: &mut ArrayText, policy: &mut Unrepresentables) -> Result<(), Fault> {
        text.open()?;
        let innermost = depth + 1 == self.levels.len();
        loop {
            if innermost {
                policy.append_piece(&mut *self.element, text.element()?, &mut self.room)?;
            } else {
                self.read_list(depth + 1, text, policy)?;
            }
            if !text.goes_on()? {
                break;
            }
        }
        let end = if innermost { self.element.len() } else { self.levels[depth + 1].len() };
        self.levels[depth].push(end)
    }
}

impl Nested for Lists {
    fn read(&mut self, text: &[u8], policy: &mut Unrepresentables) -> Result<(), Fault> {
        let mut text = ArrayText::new(text)?;
        if text.is_empty() {
            self.levels[0].push_empty();
            return Ok(());
        }
        if text.dimensions() != self.levels.len() {
            return Err(OTHER_DIMENSIONS);
        }
        self.read_list(0, &mut text, policy)?;
        text.end()
    }

    fn validity(&mut self) -> &mut Validity {
        &mut self.validity
    }
}

impl Column for Lists {
    fn append(&mut self, text: &[u8], policy: &mut Unrepresentables) -> Result<(), Fault> {
        append_whole(self, text, policy)
    }

    fn push_null(&mut self) {
        self.levels[0].push_empty();
        self.validity.0.append_null();
    }

    fn len(&self) -> usize {
        self.validity.len()
    }

    fn truncate(&mut self, len: usize) {
        self.validity.0.truncate(len);
        let mut len = len;
        for level in &mut self.levels {
            level.truncate(len);
            len = level.last();
        }
        self.element.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.levels.iter().map(Ends::bytes).sum::<usize>() + self.validity.bytes() + self.element.bytes()
    }

    fn finish(&mut self) -> ArrayRef {
        let mut nulls = self.validity.0.finish();
        let mut array = self.element.finish();
        for (depth, level) in self.levels.iter_mut().enumerate().rev() {
            let item = Arc::new(Field::new_list_field(array.data_type().clone(), true));
            let nulls = if depth == 0 { nulls.take() } else { None };
            array = Arc::new(ListArray::new(item, level.finish(), array, nulls));
        }
        array
    }
}

/// Composites.
pub(super) struct Composites {
    names: Vec<String>,
    attributes: Vec<Box<dyn Column>>,
    validity: Validity,
    room: Vec<u8>,
}

impl Composites {
    pub(super) fn new(attributes: impl Iterator<Item = (String, Box<dyn Column>)>) -> Self {
        let (names, attributes) = attributes.unzip();
        Composites { names, attributes, validity: Validity::default(), room: Vec::new() }
    }
}

impl Nested for Composites {
    fn read(&mut self, text: &[u8], policy: &mut Unrepresentables) -> Result<(), Fault> {
        let mut text = CompositeText::new(text);
        for attribute in &mut self.attributes {
            policy.append_piece(&mut **attribute, text.attribute()?, &mut self.room)?;
        }
        text.end()
    }

    fn validity(&mut self) -> &mut Validity {
        &mut self.validity
    }
}

impl Column for Composites {
    fn append(&mut self, text: &[u8], policy: &mut Unrepresentables) -> Result<(), Fault> {
        append_whole(self, text, policy)
    }

    fn push_null(&mut self) {
        self.attributes.iter_mut().for_each(|attribute| attribute.push_null());
        self.validity.0.append_null();
    }

    fn len(&self) -> usize {
        self.validity.len()
    }

    fn truncate(&mut self, len: usize) {
        self.validity.0.truncate(len);
        self.attributes.iter_mut().for_each(|attribute| attribute.truncate(len));
    }

    fn bytes(&self) -> usize {
        self.validity.bytes() + self.attributes.iter().map(|attribute| attribute.bytes()).sum::<usize>()
    }

    fn finish(&mut self) -> ArrayRef {
        let len = self.len();
        let nulls = self.validity.0.finish();
        let arrays: Vec<ArrayRef> = self.attributes.iter_mut().map(|attribute| attribute.finish()).collect();
        let fields: Fields = self
            .names
            .iter()
            .zip(&arrays)
            .map(|(name, array)| Field::new(name, array.data_type().clone(), true))
            .collect();
        let array = StructArray::try_new_with_length(fields, arrays, nulls, len);
        Arc::new(array.expect("the fields are made from the arrays, which are all as long as the column"))
    }
}

/// Maps with a key at most once, in the order in which PostgreSQL keeps the keys.
pub(super) struct Maps {
    ends: Ends,
    validity: Validity,
    keys: Box<dyn Column>,
    values: Box<dyn Column>,
    room: Vec<u8>,
}

impl Maps {
    pub(super) fn new(keys: Box<dyn Column>, values: Box<dyn Column>) -> Self {
        Maps { ends: Ends::default(), validity: Validity::default(), keys, values, room: Vec::new() }
    }
}

impl Nested for Maps {
    fn read(&mut self, text: &[u8], policy: &mut Unrepresentables) -> Result<(), Fault> {
        for pair in HstorePairs::new(text) {
            let (key, value) = pair?;
            self.keys.append(key.text(&mut self.room).ok_or(NULL_KEY)?, policy)?;
            policy.append_piece(&mut *self.values, value, &mut self.room)?;
        }
        self.ends.push(self.keys.len())
    }

    fn validity(&mut self) -> &mut Validity {
        &mut self.validity
    }
}

impl Column for Maps {
    fn append(&mut self, text: &[u8], policy: &mut Unrepresentables) -> Result<(), Fault> {
        append_whole(self, text, policy)
    }

    fn push_null(&mut self) {
        self.ends.push_empty();
        self.validity.0.append_null();
    }

    fn len(&self) -> usize {
        self.validity.len()
    }

    fn truncate(&mut self, len: usize) {
        self.validity.0.truncate(len);
        self.ends.truncate(len);
        self.keys.truncate(self.ends.last());
        self.values.truncate(self.ends.last());
    }

    fn bytes(&self) -> usize {
        self.ends.bytes() + self.validity.bytes() + self.keys.bytes() + self.values.bytes()
    }

    fn finish(&mut self) -> ArrayRef {
        let (keys, values) = (self.keys.finish(), self.values.finish());
        let fields = Fields::from(vec![
            Field::new("key", keys.data_type().clone(), false),
            Field::new("value", values.data_type().clone(), true),
        ]);
        let entries = StructArray::new(fields, vec![keys, values], None);
        let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
        Arc::new(MapArray::new(field, self.ends.finish(), entries, self.validity.0.finish(), false))
    }
}
