"""delta-rs as another program that reads and writes tables. `delta.py COMMAND PATH [ARGUMENT]`; answers are JSON."""

import json
import sys

import arro3.core as arrow
from deltalake import DeltaTable, QueryBuilder, write_deltalake


def rows(reader):
    table = reader.read_all()
    columns = {name: [value.as_py() for value in table.column(name)] for name in table.column_names}
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def feed(path, starting_version):
    """The change data feed from a version on."""
    found = rows(DeltaTable(path).load_cdf(starting_version=int(starting_version)))
    return [{key: value for key, value in row.items() if key != "_commit_timestamp"} for row in found]


def query(path, sql):
    """Rows of a query over the table `t`."""
    return rows(QueryBuilder().register("t", DeltaTable(path)).execute(sql))


def optimize(path):
    return json.loads(json.dumps(DeltaTable(path).optimize.compact(), default=str))


def delete(path, predicate):
    return DeltaTable(path).delete(predicate)


def append(path, key):
    """One row of columns `k` BIGINT and `v` VARCHAR."""
    table = arrow.Table.from_pydict({
        "k": arrow.Array([int(key)], arrow.DataType.int64()),
        "v": arrow.Array(["foreign"], arrow.DataType.string()),
    })
    write_deltalake(path, table, mode="append")
    return None


def checkpoint(path):
    DeltaTable(path).create_checkpoint()
    return None


def history(path):
    return DeltaTable(path).history()


commands = {command.__name__: command for command in [feed, query, optimize, delete, append, checkpoint, history]}
print(json.dumps(commands[sys.argv[1]](*sys.argv[2:]), default=str))
