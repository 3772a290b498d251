-- Bids of a day.
SELECT strftime(date_time, '%Y-%m-%d') AS day, count(*) AS bids,
    count(*) FILTER (WHERE price < 100) AS low, count(*) FILTER (WHERE price >= 100 AND price < 1000) AS middle,
    count(*) FILTER (WHERE price >= 1000) AS high, count(DISTINCT bidder) AS bidders,
    count(DISTINCT bidder) FILTER (WHERE price < 100) AS low_bidders,
    count(DISTINCT auction) AS auctions, count(DISTINCT auction) FILTER (WHERE price >= 1000) AS high_auctions
FROM lake.bid GROUP BY day
