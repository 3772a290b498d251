-- Join with a bounded side input.
SELECT b.auction, b.bidder, b.price, b.date_time, s.value
FROM lake.bid b JOIN lake.side_input s ON b.auction % 4 = s.key
