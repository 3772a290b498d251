-- The last bid of each bidder for each auction.
SELECT auction, bidder, price, channel, url, date_time, extra FROM lake.bid
QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, price, channel, url, extra) <= 1
