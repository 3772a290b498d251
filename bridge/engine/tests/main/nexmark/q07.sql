-- Highest bid of each 10 seconds.
SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
FROM lake.bid b
JOIN (
    SELECT max(price) AS most, time_bucket(INTERVAL '10 seconds', date_time) AS starts FROM lake.bid GROUP BY starts
) m ON b.price = m.most AND time_bucket(INTERVAL '10 seconds', b.date_time) = m.starts
