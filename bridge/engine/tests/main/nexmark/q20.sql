-- Bids with their auctions.
SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.date_time AS bid_time, a.item_name, a.description, a.initial_bid,
    a.reserve, a.date_time AS auction_time, a.expires, a.seller, a.category
FROM lake.bid b JOIN lake.auction a ON b.auction = a.id
WHERE a.category = 10
