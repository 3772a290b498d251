//! Why a file of the lake cannot be read.

use tidegate_core::ErrorKind;
use tidegate_duck::DuckError;

use crate::error::LakeError;

/// An error of one file. Messages name the file and hold no values.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is not there. Whether it should be is for the catalog to say.
    #[error("the file {file} is not there")]
    Gone {
        /// Its path.
        file: String,
    },
    /// The path leads nowhere that can be reached.
    #[error("the file {file} cannot be reached: {fact}")]
    Place {
        /// Its path.
        file: String,
        /// Why not, and the way out.
        fact: String,
    },
    /// The store refuses, or does not answer.
    #[error("the file {file} cannot be read: {fact}")]
    Store {
        /// Its path.
        file: String,
        /// What the store says, without secrets.
        fact: String,
        /// What the caller should do.
        kind: ErrorKind,
    },
    /// The file cannot be decrypted.
    #[error("the file {file} is encrypted, and {fact}: set reader = \"extension\"")]
    Encrypted {
        /// Its path.
        file: String,
        /// Why it cannot be decrypted.
        fact: String,
    },
    /// Releases of DuckLake after 1.0 write several deletion vectors into one file.
    #[error(
        "the file {file} is a Puffin container, which releases of DuckLake write that this program does not know: switch deletion \
         vectors off and rewrite the table's files (ducklake_rewrite_data_files with delete_threshold => 0)"
    )]
    Container {
        /// Its path.
        file: String,
    },
    /// The file is not what the catalog says.
    #[error("the file {file} is not what the catalog says: {fact}: restore the file")]
    Contradiction {
        /// Its path.
        file: String,
        /// What contradicts what.
        fact: String,
    },
    /// The file has something that only DuckDB reads.
    #[error("the file {file} cannot be read: {fact}: set reader = \"extension\"")]
    Unsupported {
        /// Its path.
        file: String,
        /// What it is.
        fact: String,
    },
    /// A value of the file does not fit the column's type.
    #[error("a value of column {column} in the file {file} does not fit the type {to}")]
    Value {
        /// Its path.
        file: String,
        /// The column.
        column: String,
        /// The column's type in the lake.
        to: String,
    },
    /// DuckDB cannot convert a column.
    #[error("column {column} of the file {file} cannot be converted")]
    Convert {
        /// Its path.
        file: String,
        /// The column.
        column: String,
        /// Why not.
        source: Box<DuckError>,
    },
    /// The caller's description of the table contradicts itself.
    #[error("column {column} is described in two ways")]
    Description {
        /// The column.
        column: String,
    },
}

impl FileError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            FileError::Store { kind, .. } => *kind,
            FileError::Place { .. } | FileError::Encrypted { .. } | FileError::Unsupported { .. } => {
                ErrorKind::Reconfigure
            }
            FileError::Container { .. } => ErrorKind::Stop,
            FileError::Gone { .. } | FileError::Contradiction { .. } | FileError::Value { .. } => ErrorKind::Stop,
            FileError::Convert { source, .. } => source.kind(),
            FileError::Description { .. } => ErrorKind::Bug,
        }
    }

    /// The error of a source.
    pub fn in_lake(self, lake: &str) -> LakeError {
        LakeError::File { lake: lake.to_owned(), source: Box::new(self) }
    }
}
