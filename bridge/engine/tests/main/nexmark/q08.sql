-- New users: persons who offered something in the same 10 seconds.
SELECT p.id, p.name, p.starts
FROM (
    SELECT id, name, time_bucket(INTERVAL '10 seconds', date_time) AS starts FROM lake.person GROUP BY id, name, starts
) p
JOIN (
    SELECT seller, time_bucket(INTERVAL '10 seconds', date_time) AS starts FROM lake.auction GROUP BY seller, starts
) a ON p.id = a.seller AND p.starts = a.starts
