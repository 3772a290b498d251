//! Files that DuckDB wrote elsewhere and that were added to the lake.

use super::World;

impl World {
    /// Writes a file that is not the lake's, and adds it.
    fn add(&self, table: &str, path: &str, query: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let path = path.display();
        self.run(&format!(
            "COPY ({query}) TO '{path}' (FORMAT parquet); \
             CALL ducklake_add_data_files('lake', '{table}', '{path}', hive_partitioning => true, \
                                          allow_missing => true, ignore_extra_columns => true)"
        ));
    }
}

#[test]
fn names_are_matched_on_every_level() {
    let world = World::new();
    world.run(
        "CREATE TABLE lake.t (a INTEGER, s STRUCT(x INTEGER, y STRUCT(z VARCHAR)), l STRUCT(p INTEGER)[], \
                              m MAP(VARCHAR, STRUCT(q INTEGER)), b VARCHAR DEFAULT 'b')",
    );
    world.add(
        "t",
        "one.parquet",
        "SELECT MAP {'k': {'q': 1, 'extra': 2}, 'n': NULL} AS M, [{'P': 7}, NULL] AS l, 1::TINYINT AS A, \
                {'y': {'z': 'deep'}, 'X': 5::SMALLINT} AS s, 9 AS more \
         UNION ALL SELECT NULL, NULL, NULL, NULL, NULL",
    );
    world.check("t");
    // Names change in the lake, not in the file.
    world.run(
        "ALTER TABLE lake.t RENAME COLUMN a TO aa; ALTER TABLE lake.t RENAME COLUMN s.x TO xx; \
         ALTER TABLE lake.t ADD COLUMN s.n INTEGER DEFAULT 4; ALTER TABLE lake.t ADD COLUMN a INTEGER DEFAULT 3; \
         ALTER TABLE lake.t ALTER COLUMN aa SET DATA TYPE DOUBLE",
    );
    world.run("INSERT INTO lake.t (aa) VALUES (1.5)");
    assert_eq!(world.check("t").num_rows(), 3);
}

#[test]
fn values_come_from_the_path() {
    let world = World::new();
    world.run("CREATE TABLE lake.t (a INTEGER, p VARCHAR, q INTEGER, d DATE)");
    let paths = [
        "p=a%20b%2Fc/q=7/d=2020-01-01/x.parquet",
        "p=__HIVE_DEFAULT_PARTITION__/q=__HIVE_DEFAULT_PARTITION__/d=NULL/x.parquet",
        "p=/q=/d=/x.parquet",
        "p=null/q=5.7/d=infinity/x.parquet",
        "p=a+b%ZZ/q= 3 /d=1999-12-31/x.parquet",
        "p=1/p=2/q=3/d=2000-01-01/x.parquet",
    ];
    for path in paths {
        world.add("t", path, "SELECT i::INTEGER AS a FROM range(3) r(i)");
    }
    assert_eq!(world.check("t").num_rows(), 18);
}

#[test]
fn partitioned_files_of_the_lake_itself_hold_their_columns() {
    let world = World::new();
    world.run(
        "CREATE TABLE lake.t (a INTEGER, p VARCHAR); ALTER TABLE lake.t SET PARTITIONED BY (p); \
         INSERT INTO lake.t SELECT i, ['x/y', 'ä', NULL][i % 3 + 1] FROM range(30) r(i)",
    );
    assert!(world.data_files("t").len() > 1);
    assert_eq!(world.check("t").num_rows(), 30);
}
