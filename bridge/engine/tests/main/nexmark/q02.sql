-- Selection.
SELECT auction, price FROM lake.bid WHERE auction % 3 = 0
