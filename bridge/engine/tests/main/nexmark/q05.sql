-- Hot items: the auctions with most bids in windows of 10 seconds that begin every 2 seconds.
WITH windows AS (
    SELECT auction, time_bucket(INTERVAL '2 seconds', date_time) AS starts FROM lake.bid
    UNION ALL SELECT auction, time_bucket(INTERVAL '2 seconds', date_time) - INTERVAL '2 seconds' FROM lake.bid
    UNION ALL SELECT auction, time_bucket(INTERVAL '2 seconds', date_time) - INTERVAL '4 seconds' FROM lake.bid
    UNION ALL SELECT auction, time_bucket(INTERVAL '2 seconds', date_time) - INTERVAL '6 seconds' FROM lake.bid
    UNION ALL SELECT auction, time_bucket(INTERVAL '2 seconds', date_time) - INTERVAL '8 seconds' FROM lake.bid
), counts AS (
    SELECT auction, starts, count(*) AS num FROM windows GROUP BY auction, starts
)
SELECT c.auction, c.num, c.starts
FROM counts c JOIN (SELECT starts, max(num) AS most FROM counts GROUP BY starts) m ON c.starts = m.starts
WHERE c.num >= m.most
