"""Brings the shop's views up to date every quarter of an hour, and hands on what the run says."""

import json
import os
import subprocess
from datetime import datetime, timedelta

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

PIPELINE = os.environ.get("SHOP_PIPELINE", "/etc/shop/pipeline.toml")
TIDEGATE = os.environ.get("TIDEGATE", "tidegate")


@dag(schedule="*/15 * * * *", start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1)
def shop_views():
    @task(retries=3, retry_delay=timedelta(seconds=30))
    def refresh() -> dict:
        run = subprocess.run([TIDEGATE, "run", PIPELINE, "--once", "--json"], stdout=subprocess.PIPE)
        if run.returncode in (2, 3):
            raise AirflowFailException(f"a person decides: see `tidegate doctor {PIPELINE}`")
        run.check_returncode()
        return json.loads(run.stdout)

    @task
    def told(summary: dict) -> None:
        print(f"epoch {summary['epoch']}, changed rows: {summary['view_rows']}")

    told(refresh())


shop_views()
