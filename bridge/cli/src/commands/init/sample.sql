CREATE TABLE lake.customers (id INTEGER, name VARCHAR, region VARCHAR);
CREATE TABLE lake.orders (id INTEGER, customer_id INTEGER, amount DECIMAL(10, 2), ordered_on DATE);
INSERT INTO lake.customers
    SELECT i, 'Customer ' || i, ['north', 'east', 'south', 'west'][1 + i % 4]
    FROM range(1, 201) t(i);
INSERT INTO lake.orders
    SELECT i, 1 + (i * 7919) % 200, ((i * 104729) % 50000) / 100, DATE '2026-01-01' + CAST(i % 180 AS INTEGER)
    FROM range(1, 2001) t(i);
