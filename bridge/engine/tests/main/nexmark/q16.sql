-- Bids of a channel and a day.
SELECT channel, strftime(date_time, '%Y-%m-%d') AS day, max(strftime(date_time, '%H:%M')) AS minute, count(*) AS bids,
    count(*) FILTER (WHERE price < 100) AS low, count(DISTINCT bidder) AS bidders,
    count(DISTINCT bidder) FILTER (WHERE price >= 100) AS high_bidders, count(DISTINCT auction) AS auctions
FROM lake.bid GROUP BY channel, day
