"""Reads what the shop of the cookbook has written: with duckdb, polars and deltalake.

python3 read_outputs.py FOLDER, where FOLDER is that of shop.toml
"""

import json
import os
import sys
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
from deltalake import DeltaTable


def current_rows(mart: Path, query: str) -> pl.DataFrame:
    """Asks the mart. It is open for as long as that takes, because commits wait meanwhile; where one has it, this waits."""
    for _ in range(100):
        try:
            with duckdb.connect(str(mart), read_only=True) as db:
                return pl.DataFrame(db.sql(query))
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise
            time.sleep(0.1)
    raise TimeoutError(f"{mart} is held by another process")


def files_that_count(view: Path) -> list[tuple[int, int, Path]]:
    """The files of a view with their epochs. One whose epochs all lie in another file's range is left out: it was merged."""
    named = []
    for path in view.glob("*.parquet"):
        first, _, last = path.stem.partition("-")
        named.append((int(first), int(last or first), path))
    count, reached = [], -1
    for first, last, path in sorted(named, key=lambda file: (file[0], -file[1])):
        if last > reached:
            count.append((first, last, path))
            reached = last
    return count


def changes(view: Path, after: int) -> tuple[bool, pl.DataFrame]:
    """What changed after an epoch, and whether it begins with the whole content of the view: then all before it is void."""
    new = [file for file in files_that_count(view) if file[1] > after]
    is_whole = [first > after and "tidegate.reset" in pl.read_parquet_metadata(path) for first, _, path in new]
    whole = any(is_whole)
    if whole:
        new = new[len(new) - 1 - is_whole[::-1].index(True) :]
    elif new and new[0][0] == 0 and after > 0:
        raise LookupError(f"the changes after epoch {after} are not kept any more: begin anew, with epoch 0")
    if not new:
        return False, pl.DataFrame()
    rows = pl.read_parquet([path for _, _, path in new], hive_partitioning=False, glob=False)
    copies = pl.when(pl.col("_change_type").is_in(["insert", "update_postimage"])).then(1).otherwise(-1)
    rows = rows.filter(pl.col("_commit_version") > after).with_columns(copies.alias("copies"))
    return whole, rows.sort("_commit_version", maintain_order=True)


def consume(view: Path, bookmark: Path) -> tuple[int, dict]:
    """Keeps the sum of open amounts by region, and takes only what is new. The sums and the epoch up to which they go are one
    file, which is replaced as a whole: whenever this is killed, nothing is counted twice, and nothing left out."""
    state = json.loads(bookmark.read_text()) if bookmark.exists() else {"epoch": 0, "open": {}}
    whole, new = changes(view, state["epoch"])
    if new.is_empty():
        return 0, state
    sums = {} if whole else {region: Decimal(amount) for region, amount in state["open"].items()}
    for region, amount, copies in new.select("region", "amount", "copies").iter_rows():
        sums[region] = sums.get(region, Decimal(0)) + copies * amount
    state = {
        "epoch": new["_commit_version"].max(),
        "open": {region: str(amount) for region, amount in sorted(sums.items()) if amount},
    }
    fresh = bookmark.with_suffix(".new")
    with open(fresh, "w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(bookmark)
    return len(new), state


def delta_changes(table: Path, after: int) -> pl.DataFrame:
    """The change data feed of a Delta table after one of its versions."""
    feed = pl.DataFrame(DeltaTable(table).load_cdf(starting_version=after + 1)).drop("_commit_timestamp")
    return feed.sort("_commit_version", "region", "_change_type", descending=[False, False, True])


def main(shop: Path) -> None:
    print("the mart, now:")
    print(current_rows(shop / "out/mart.duckdb", "FROM revenue ORDER BY revenue DESC"))
    print("\nthe change feed, by epoch:")
    _, feed = changes(shop / "out/changes/open_orders", 0)
    print(feed.group_by("_commit_version").agg(pl.len().alias("changes"), pl.col("copies").sum()).sort("_commit_version"))
    count, state = consume(shop / "out/changes/open_orders", shop / "open_amounts.json")
    print(f"\n{count} new changes up to epoch {state['epoch']}: {state['open']}")
    print("\nthe Delta table, now, and what its last version changed:")
    table = shop / "out/delta/revenue"
    print(pl.read_delta(str(table)).sort("region"))
    print(delta_changes(table, DeltaTable(table).version() - 1))


if __name__ == "__main__":
    with pl.Config(tbl_formatting="ASCII_MARKDOWN", tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        main(Path(sys.argv[1]))
