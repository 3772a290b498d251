-- The ten highest bids of each auction.
SELECT auction, bidder, price, channel, url, date_time, extra,
    row_number() OVER (PARTITION BY auction ORDER BY price DESC, bidder, channel, url, date_time, extra) AS rank_number
FROM lake.bid QUALIFY rank_number <= 10
