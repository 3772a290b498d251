-- Bids of an auction and a day.
SELECT auction, strftime(date_time, '%Y-%m-%d') AS day, count(*) AS bids, count(*) FILTER (WHERE price < 100) AS low,
    min(price) AS least, max(price) AS most, avg(price) AS mean, sum(price) AS total
FROM lake.bid GROUP BY auction, day
