"""The shop's views as an asset that a schedule brings up to date every quarter of an hour."""

import json
import os
import subprocess

import dagster as dg

PIPELINE = os.environ.get("SHOP_PIPELINE", "/etc/shop/pipeline.toml")
TIDEGATE = os.environ.get("TIDEGATE", "tidegate")


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=3, delay=30))
def shop_views() -> dg.MaterializeResult:
    run = subprocess.run([TIDEGATE, "run", PIPELINE, "--once", "--json"], stdout=subprocess.PIPE)
    if run.returncode in (2, 3):
        raise dg.Failure(f"a person decides: see `tidegate doctor {PIPELINE}`", allow_retries=False)
    run.check_returncode()
    summary = json.loads(run.stdout)
    return dg.MaterializeResult(metadata={"epoch": summary["epoch"], "view_rows": summary["view_rows"]})


refresh = dg.define_asset_job("refresh", [shop_views])
every_quarter = dg.ScheduleDefinition(job=refresh, cron_schedule="*/15 * * * *")
defs = dg.Definitions(assets=[shop_views], jobs=[refresh], schedules=[every_quarter])
