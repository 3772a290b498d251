//! `tidegate schema`: the JSON Schema of the pipeline file, for editors.

use crate::file::schema::schema;
use crate::output;

/// Writes it to the standard output.
pub fn show() {
    output::line(format!("{:#}", schema()));
}
