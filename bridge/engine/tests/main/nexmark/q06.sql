-- Average price of a seller's last ten auctions that found a bidder.
SELECT seller, id, avg(final) OVER (PARTITION BY seller ORDER BY date_time, id ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS mean
FROM (
    SELECT a.id, a.seller, b.price AS final, b.date_time
    FROM lake.auction a, lake.bid b
    WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
    QUALIFY row_number() OVER (PARTITION BY a.id, a.seller ORDER BY b.price DESC, b.date_time) = 1
) w
