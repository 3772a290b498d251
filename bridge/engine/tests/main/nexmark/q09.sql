-- Winning bids.
SELECT a.id, a.item_name, a.reserve, a.seller, a.category, b.bidder, b.price, b.date_time
FROM lake.auction a, lake.bid b
WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
QUALIFY row_number() OVER (
    PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.bidder, a.item_name, a.reserve, a.seller, a.category) <= 1
