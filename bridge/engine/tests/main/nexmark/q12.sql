-- Bids by the time at which they are processed.
SELECT bidder, count(*) AS bids, date_trunc('minute', now()) AS starts FROM lake.bid GROUP BY bidder, starts
