-- For DuckDB's command line, in the folder of the Parquet files: what the views are, what they were, and what changed.
.read changes/views.sql

-- What there is now.
FROM open_orders ORDER BY priority;

-- What came and went in each of the last runs.
SELECT _commit_version AS epoch, min(_commit_timestamp)::VARCHAR AS committed, count(*) AS changed_rows,
       count(*) FILTER (_change_type = 'update_postimage') AS updated
FROM shipped_changes(0, 1000000000)
GROUP BY epoch ORDER BY epoch DESC LIMIT 5;

-- Which segments have gained most since the first run.
SELECT segment, sum(now.revenue - coalesce(before.revenue, 0)) AS gained
FROM shipped now LEFT JOIN shipped_asof(1) before USING (segment, mode)
GROUP BY segment ORDER BY gained DESC;
