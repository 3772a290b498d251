-- Rows for the 24 tables of TPC-DS, which the extension has made without any. They are few, and their values come
-- from the domains that the predicates of the queries name, so that most queries answer something. Every number
-- follows from hash(), so that the rows are the same each time.

CREATE MACRO h(i, salt) AS (hash(i * 1000003 + salt) >> 12)::BIGINT;
CREATE MACRO num(i, salt, low, high) AS low + h(i, salt) % (high - low + 1);
CREATE MACRO pick(list, i, salt) AS list[1 + h(i, salt) % len(list)];
CREATE MACRO cents(i, salt, low, high) AS (num(i, salt, low * 100, high * 100) / 100)::DECIMAL(7, 2);
CREATE MACRO few(i, salt, value) AS CASE WHEN h(i, salt) % 20 = 0 THEN NULL ELSE value END;
CREATE MACRO sk(day) AS (day - DATE '1900-01-01') + 2415021;

-- Three days of each month, and days whose weeks the queries name.
CREATE TEMP TABLE days AS
SELECT row_number() OVER (ORDER BY day) - 1 AS n, day FROM (
    SELECT (DATE '1998-01-01' + to_months(m::INTEGER) + to_days(d::INTEGER))::DATE AS day
    FROM range(60) m(m), unnest([0, 1, 25]) d(d)
    UNION SELECT unnest([DATE '2000-01-03', '2000-06-30', '2000-09-27', '2000-11-17', '1999-02-23']));

-- Days that the queries look at with many further conditions.
CREATE MACRO hot() AS [DATE '1998-11-01', '1998-05-02', '1998-09-01', '1998-12-26', '1999-01-02', '1999-02-26',
    '1999-03-01', '1999-03-02', '1999-09-02', '1999-11-01', '2000-11-02', '2000-02-02', '2000-02-26', '2000-03-26',
    '2001-01-02', '2001-02-01', '2001-04-26', '2001-11-02', '2001-12-01', '2001-08-01', '2002-01-02', '2002-02-26',
    '2002-03-01', '2000-08-26', '2000-09-01', '2000-01-03', '2001-05-02', '2001-06-26', '1998-04-02', '2000-05-26',
    '2000-06-30', '2000-09-27', '2000-11-17', '2000-07-02', '1998-11-02', '1998-11-01', '2001-04-26', '2001-04-02', '2002-03-02',
    '1999-02-26', '2001-01-02', '2000-05-01', '2000-08-02'];

INSERT INTO date_dim BY NAME
SELECT sk(day) AS d_date_sk, 'D' || sk(day) AS d_date_id, day AS d_date,
    (year(day) - 1900) * 12 + month(day) - 1 AS d_month_seq, (day - DATE '1899-12-31') // 7 + 1 AS d_week_seq,
    (year(day) - 1900) * 4 + quarter(day) - 1 AS d_quarter_seq, year(day) AS d_year, dayofweek(day) AS d_dow,
    month(day) AS d_moy, day(day) AS d_dom, quarter(day) AS d_qoy, dayname(day) AS d_day_name,
    year(day) || 'Q' || quarter(day) AS d_quarter_name, 'N' AS d_holiday,
    CASE WHEN dayofweek(day) IN (0, 6) THEN 'Y' ELSE 'N' END AS d_weekend
FROM days;

INSERT INTO time_dim BY NAME
SELECT hour * 3600 + minute * 60 AS t_time_sk, 'T' || hour || minute AS t_time_id, hour * 3600 + minute * 60 AS t_time,
    hour AS t_hour, minute AS t_minute, 0 AS t_second, CASE WHEN hour < 12 THEN 'AM' ELSE 'PM' END AS t_am_pm,
    CASE WHEN hour < 10 THEN 'breakfast' WHEN hour > 18 THEN 'dinner' WHEN hour = 12 THEN 'lunch' END AS t_meal_time
FROM unnest([8, 9, 10, 11, 12, 15, 19, 20]) hours(hour), unnest([15, 45]) minutes(minute);

INSERT INTO customer_demographics BY NAME
SELECT i AS cd_demo_sk, who[1] AS cd_gender, who[2] AS cd_marital_status, who[3] AS cd_education_status,
    num(i, 1, 1, 4) * 500 AS cd_purchase_estimate, pick(['Good', 'Low Risk'], i, 2) AS cd_credit_rating,
    num(i, 3, 0, 2) AS cd_dep_count, num(i, 4, 0, 2) AS cd_dep_employed_count, num(i, 5, 0, 1) AS cd_dep_college_count
FROM (SELECT i, [['M', 'S', 'College'], ['F', 'M', 'Advanced Degree'], ['F', 'W', '2 yr Degree'], ['F', 'M', 'Unknown'],
    ['M', 'S', 'College'], ['M', 'D', '2 yr Degree'], ['M', 'M', '4 yr Degree'], ['F', 'W', 'Advanced Degree'],
    ['F', 'S', 'Unknown'], ['F', 'D', 'Primary']][1 + i % 10] AS who FROM range(1, 21) r(i));

INSERT INTO income_band BY NAME
SELECT i AS ib_income_band_sk, i * 10000 + 1 AS ib_lower_bound, (i + 1) * 10000 AS ib_upper_bound FROM range(2, 9) r(i);

INSERT INTO household_demographics BY NAME
SELECT i AS hd_demo_sk, num(i, 1, 2, 8) AS hd_income_band_sk,
    ['Unknown', '>10000', '1001-5000', 'Unknown'][1 + i % 4] AS hd_buy_potential,
    [3, 1, 4, 2, 0, 6, 7, 3][1 + i % 8] AS hd_dep_count, [1, 2, 3, 0, 4][1 + i % 5] AS hd_vehicle_count
FROM range(1, 21) r(i);

INSERT INTO customer_address BY NAME
SELECT i AS ca_address_sk, 'A' || i AS ca_address_id, 'no ' || i AS ca_street_number, pick(['Oak', 'Elm'], i, 1) AS ca_street_name,
    'Street' AS ca_street_type, 'Suite ' || i % 3 AS ca_suite_number,
    pick(['Edgewood', 'Fairview', 'Midway', 'Oak Grove'], i, 2) AS ca_city,
    ['Williamson County', 'Rush County', 'Williamson County', 'Dona Ana County', 'Orange County'][1 + i % 5] AS ca_county,
    ['TN', 'GA', 'TX', 'KY', 'OH', 'GA', 'IL', 'CA', 'TN', 'VA', 'NM', 'IN', 'MS', 'OH', 'KY'][1 + i % 15] AS ca_state,
    ['24128', '24128', '76232', '24128', '85669', '65084'][1 + i % 6] AS ca_zip, 'United States' AS ca_country,
    CASE WHEN i % 3 = 0 THEN -7 ELSE -5 END AS ca_gmt_offset, pick(['apartment', 'condo'], i, 3) AS ca_location_type
FROM range(1, 31) r(i);

INSERT INTO customer BY NAME
SELECT i AS c_customer_sk, 'C' || i AS c_customer_id, pick([4, 8, 18, 14, num(i, 1, 1, 20)], i, 0) AS c_current_cdemo_sk,
    num(i, 2, 1, 20) AS c_current_hdemo_sk, CASE WHEN i < 5 THEN [1, 3, 15, 30][i] ELSE num(i, 3, 1, 30) END AS c_current_addr_sk,
    sk((SELECT day FROM days WHERE n = num(i, 4, 0, 60))) AS c_first_shipto_date_sk,
    sk((SELECT day FROM days WHERE n = num(i, 5, 0, 60))) AS c_first_sales_date_sk,
    pick(['Dr.', 'Ms.', 'Mr.'], i, 6) AS c_salutation, few(i, 7, 'First' || i % 7) AS c_first_name, 'Last' || i AS c_last_name,
    pick(['Y', 'Y', 'N'], i, 8) AS c_preferred_cust_flag, num(i, 9, 1, 28) AS c_birth_day, num(i, 10, 1, 12) AS c_birth_month,
    num(i, 11, 1930, 1990) AS c_birth_year, pick(['GERMANY', 'PERU'], i, 12) AS c_birth_country,
    'c' || i || '@example.com' AS c_email_address, 2452000 + i AS c_last_review_date_sk
FROM range(1, 41) r(i);

INSERT INTO item BY NAME
SELECT i AS i_item_sk, 'I' || i // 2 AS i_item_id, 'an item of kind ' || i // 2 AS i_item_desc,
    [1.25, 70.50, 66.00, 88.00][1 + (i + i // 12) % 4]::DECIMAL(7, 2) AS i_current_price, cents(i, 1, 1, 60) AS i_wholesale_cost,
    kind[1] AS i_category, kind[2] AS i_class, kind[3] AS i_brand, i % 12 AS i_brand_id, i % 6 AS i_class_id, i % 12 AS i_category_id,
    [128, 977, 350, 677, 129, 740, 750, 977][1 + i % 8] AS i_manufact_id, 'maker ' || i % 8 AS i_manufact,
    ['medium', 'extra large', 'N/A'][1 + i % 3] AS i_size,
    CASE WHEN i % 8 = 5 THEN 'khaki' ELSE ['powder', 'purple', 'peach', 'slate', 'purple', 'floral', 'burnished'][1 + i % 7] END AS i_color,
    ['Ounce', 'Oz', 'Pallet'][1 + i % 3] AS i_units, [1, 8, 28, 1][1 + i % 4] AS i_manager_id, few(i, 2, 'product ' || i) AS i_product_name
FROM (SELECT i, [['Books', 'personal', 'scholaramalgamalg #14'], ['Women', 'accessories', 'amalgimporto #1'],
    ['Music', 'classical', 'edu packscholar #1'], ['Electronics', 'portable', 'exportiunivamalg #9'],
    ['Jewelry', 'birdal', 'other #1'], ['Women', 'maternity', 'other #2'], ['Sports', 'football', 'other #3'],
    ['Home', 'bedding', 'other #4'], ['Books', 'computers', 'other #5'], ['Men', 'pants', 'importoamalg #1'],
    ['Women', 'dresses', 'other #6'], ['Children', 'reference', 'scholaramalgamalg #7']][1 + i % 12] AS kind FROM range(1, 37) r(i));

INSERT INTO store BY NAME
SELECT i AS s_store_sk, 'S' || i // 2 AS s_store_id, ['ese', 'ought', 'able'][1 + i % 3] AS s_store_name,
    num(i, 1, 200, 295) AS s_number_employees, 8 AS s_market_id, 1 AS s_company_id, 'Unknown' AS s_company_name,
    'no ' || i AS s_street_number, 'Main' AS s_street_name, 'Road' AS s_street_type, 'Suite 1' AS s_suite_number,
    ['Fairview', 'Midway'][1 + i % 2] AS s_city, CASE WHEN i = 6 THEN 'Orange County' ELSE 'Williamson County' END AS s_county,
    CASE WHEN i = 5 THEN 'GA' ELSE 'TN' END AS s_state, ['24128', '76232'][1 + i % 2] AS s_zip, -5 AS s_gmt_offset
FROM range(1, 7) r(i);

INSERT INTO warehouse BY NAME
SELECT i AS w_warehouse_sk, 'W' || i AS w_warehouse_id, 'a warehouse with a long name ' || i AS w_warehouse_name,
    i * 1000 AS w_warehouse_sq_ft, 'Fairview' AS w_city, 'Williamson County' AS w_county, 'TN' AS w_state, 'United States' AS w_country
FROM range(1, 4) r(i);
INSERT INTO ship_mode BY NAME
SELECT i AS sm_ship_mode_sk, ['EXPRESS', 'OVERNIGHT'][1 + i % 2] AS sm_type, ['DHL', 'BARIAN', 'UPS'][1 + i % 3] AS sm_carrier
FROM range(1, 5) r(i);
INSERT INTO reason BY NAME
SELECT i AS r_reason_sk, ['reason 28', 'Did not like the colour'][1 + i % 2] AS r_reason_desc FROM range(1, 4) r(i);
INSERT INTO promotion BY NAME
SELECT i AS p_promo_sk, 'P' || i AS p_promo_id, ['N', 'Y', 'N'][1 + i % 3] AS p_channel_email, 'N' AS p_channel_event,
    'N' AS p_channel_tv, ['Y', 'N'][1 + i % 2] AS p_channel_dmail FROM range(1, 6) r(i);
INSERT INTO call_center BY NAME
SELECT i AS cc_call_center_sk, 'CC' || i AS cc_call_center_id, ['North', 'South'][1 + i % 2] AS cc_name, 'M' || i AS cc_manager,
    'Williamson County' AS cc_county FROM range(1, 4) r(i);
INSERT INTO catalog_page BY NAME
SELECT i AS cp_catalog_page_sk, 'CP' || i // 2 AS cp_catalog_page_id FROM range(1, 7) r(i);
INSERT INTO web_page BY NAME
SELECT i AS wp_web_page_sk, 'WP' || i AS wp_web_page_id, [5000, 5100, 6000][1 + i % 3] AS wp_char_count FROM range(1, 5) r(i);
INSERT INTO web_site BY NAME
SELECT i AS web_site_sk, 'WS' || i AS web_site_id, 'site_' || i % 2 AS web_name, ['able', 'pri'][1 + i % 2] AS web_company_name
FROM range(1, 4) r(i);

INSERT INTO inventory BY NAME
SELECT sk(day) AS inv_date_sk, i AS inv_item_sk, w AS inv_warehouse_sk,
    few(i * 100 + n, 3, CASE WHEN year(day) = 2001 THEN (n % 3) // 2 * 500 + 10 WHEN year(day) = 1999 THEN 20 ELSE num(i * 100 + n, 4, 150, 200) END)
        AS inv_quantity_on_hand
FROM days, range(1, 37) r(i), range(1, 4) s(w)
WHERE h(i * 1000 + n * 10 + w, 5) % 3 = 0 AND day IN (DATE '2000-02-26', '2000-03-26', '2000-03-01', '2000-05-26', '2000-06-30', '1999-03-01', '1999-09-02', '1999-02-26')
    OR i < 7 AND w = 1 AND day BETWEEN DATE '2001-01-01' AND '2001-02-28';

-- Orders of three channels. Half of them are alike in all channels: the same customer, day and items. Some items and
-- some customers are in many.
CREATE TEMP TABLE orders AS
SELECT c, o, CASE WHEN o % 2 = 0 THEN o ELSE o * 10 + c END AS seed, 1 + o % 4 + CASE WHEN o % 14 = 0 THEN 14 ELSE 0 END AS lines
FROM range(3) r(c), range(1, 201) s(o);
CREATE TEMP TABLE lines AS
SELECT c, o, l, seed * 100 + l AS k, seed * 100 + l + c * 7 AS kc,
    CASE WHEN h(seed, 1) % 4 > 0 THEN pick(hot(), seed, 2) ELSE (SELECT day FROM days d WHERE d.n = h(seed, 3) % 180) END AS day,
    CASE WHEN h(seed, 4) % 3 = 0 THEN num(seed, 5, 1, 4) ELSE num(seed, 6, 1, 40) END AS customer,
    CASE WHEN h(seed * 100 + l, 7) % 3 = 0 THEN 1 + (h(seed, 8) + l) % 4 ELSE 1 + (h(seed, 9) + l) % 36 END AS item
FROM orders, range(1, 19) r(l) WHERE l <= lines;
CREATE TEMP TABLE sales AS
SELECT *, num(k, 20, 1, 60) AS quantity,
    CASE WHEN day = DATE '2000-01-03' THEN 100.00 ELSE cents(kc, 21, 50, 4000) END AS ext_price,
    (SELECT n FROM days d WHERE d.day = lines.day) AS n
FROM lines;

CREATE MACRO times() AS list_concat((SELECT list(t_time_sk ORDER BY t_time_sk) FROM time_dim), [74700, 74700, 74700]);
INSERT INTO store_sales BY NAME
SELECT sk(day) AS ss_sold_date_sk, pick(times(), o, 30) AS ss_sold_time_sk, item AS ss_item_sk,
    customer AS ss_customer_sk, num(o, 31, 1, 20) AS ss_cdemo_sk, num(o, 32, 1, 20) AS ss_hdemo_sk, few(k, 33, num(o, 33, 1, 30)) AS ss_addr_sk,
    few(k, 34, CASE WHEN o % 3 = 0 THEN 4 ELSE num(o, 34, 1, 6) END) AS ss_store_sk, num(k, 35, 1, 5) AS ss_promo_sk, o AS ss_ticket_number,
    quantity AS ss_quantity, cents(k, 36, 5, 80) AS ss_wholesale_cost, cents(k, 37, 1, 200) AS ss_list_price,
    few(k, 38, CASE WHEN k % 9 = 0 THEN 0.50 ELSE cents(k, 38, 40, 200) END) AS ss_sales_price, cents(k, 39, 0, 90) AS ss_ext_discount_amt,
    ext_price AS ss_ext_sales_price, cents(k, 40, 50, 900) AS ss_ext_wholesale_cost, cents(kc, 41, 900, 2000) AS ss_ext_list_price,
    cents(k, 42, 0, 50) AS ss_ext_tax, pick([0.00, 500.00, 2500.00, 12300.00, 900.00, 7500.00], k, 43) AS ss_coupon_amt,
    cents(kc, 44, 10, 2000) AS ss_net_paid, cents(kc, 45, 10, 2100) AS ss_net_paid_inc_tax, cents(k, 46, -20, 300) AS ss_net_profit
FROM sales WHERE c = 0;
INSERT INTO catalog_sales BY NAME
SELECT sk(day) AS cs_sold_date_sk, pick(times(), o, 30) AS cs_sold_time_sk,
    sk((SELECT day FROM days d WHERE d.n = least(sales.n + o % 6, 184))) AS cs_ship_date_sk, customer AS cs_bill_customer_sk,
    num(o, 31, 1, 20) AS cs_bill_cdemo_sk, num(o, 32, 1, 20) AS cs_bill_hdemo_sk, num(o, 33, 1, 30) AS cs_bill_addr_sk,
    customer AS cs_ship_customer_sk, num(o, 34, 1, 20) AS cs_ship_cdemo_sk, num(o, 35, 1, 20) AS cs_ship_hdemo_sk,
    few(k, 36, pick([1, 5, 16, 20], o, 36)) AS cs_ship_addr_sk, few(k, 37, num(o, 37, 1, 3)) AS cs_call_center_sk, num(k, 38, 1, 6) AS cs_catalog_page_sk,
    num(o, 39, 1, 4) AS cs_ship_mode_sk, few(k, 40, num(k, 40, 1, 3)) AS cs_warehouse_sk, item AS cs_item_sk, num(k, 41, 1, 5) AS cs_promo_sk,
    o AS cs_order_number, quantity AS cs_quantity, cents(k, 42, 5, 80) AS cs_wholesale_cost, cents(k, 43, 1, 200) AS cs_list_price,
    cents(k, 44, 1, 600) AS cs_sales_price, cents(k, 45, 0, 90) AS cs_ext_discount_amt, ext_price AS cs_ext_sales_price,
    cents(k, 46, 50, 900) AS cs_ext_wholesale_cost, cents(kc, 47, 900, 2000) AS cs_ext_list_price, cents(k, 48, 0, 50) AS cs_ext_tax,
    cents(k, 49, 0, 900) AS cs_coupon_amt, cents(k, 50, 0, 99) AS cs_ext_ship_cost, cents(kc, 51, 10, 2000) AS cs_net_paid,
    cents(kc, 52, 10, 2100) AS cs_net_paid_inc_tax, cents(k, 53, -20, 300) AS cs_net_profit
FROM sales WHERE c = 1;
INSERT INTO web_sales BY NAME
SELECT sk(day) AS ws_sold_date_sk, pick(times(), o, 30) AS ws_sold_time_sk,
    sk((SELECT day FROM days d WHERE d.n = least(sales.n + o % 6, 184))) AS ws_ship_date_sk, item AS ws_item_sk, customer AS ws_bill_customer_sk,
    num(o, 31, 1, 20) AS ws_bill_cdemo_sk, num(o, 32, 1, 20) AS ws_bill_hdemo_sk, num(o, 33, 1, 30) AS ws_bill_addr_sk,
    few(k, 34, customer) AS ws_ship_customer_sk, num(o, 35, 1, 20) AS ws_ship_cdemo_sk, pick([5, 13, 2, 7], o, 36) AS ws_ship_hdemo_sk,
    pick([6, 21, 7, 3], o, 37) AS ws_ship_addr_sk, num(o, 38, 1, 4) AS ws_web_page_sk, num(o, 39, 1, 3) AS ws_web_site_sk, num(o, 40, 1, 4) AS ws_ship_mode_sk,
    num(k, 41, 1, 3) AS ws_warehouse_sk, num(k, 42, 1, 5) AS ws_promo_sk, o AS ws_order_number, quantity AS ws_quantity,
    cents(k, 43, 5, 80) AS ws_wholesale_cost, cents(k, 44, 1, 200) AS ws_list_price, few(k, 45, cents(k, 45, 50, 200)) AS ws_sales_price,
    CASE WHEN k % 5 = 0 THEN 400.00 ELSE cents(k, 46, 0, 90) END AS ws_ext_discount_amt, ext_price AS ws_ext_sales_price,
    cents(k, 47, 50, 900) AS ws_ext_wholesale_cost, cents(kc, 48, 900, 2000) AS ws_ext_list_price, cents(k, 49, 0, 99) AS ws_ext_ship_cost,
    cents(kc, 50, 10, 2000) AS ws_net_paid, cents(kc, 51, 10, 2100) AS ws_net_paid_inc_tax, cents(k, 52, 0, 300) AS ws_net_profit
FROM sales WHERE c = 2;

-- A part of what was sold comes back, at a later day.
CREATE TEMP TABLE returns AS
SELECT *, sk((SELECT d.day FROM days d WHERE d.n = least(sales.n + h(k, 60) % 5, 184))) AS returned,
    CASE WHEN h(k, 61) % 3 = 0 THEN 12000.00 ELSE cents(k, 62, 1, 3000) END AS amount
FROM sales WHERE h(k, 63) % 5 < 2 AND o % 7 > 0;
INSERT INTO store_returns BY NAME
SELECT returned AS sr_returned_date_sk, item AS sr_item_sk, customer AS sr_customer_sk, num(o, 31, 1, 20) AS sr_cdemo_sk,
    num(o, 32, 1, 20) AS sr_hdemo_sk, num(o, 33, 1, 30) AS sr_addr_sk, num(o, 34, 1, 6) AS sr_store_sk, num(k, 64, 1, 3) AS sr_reason_sk,
    o AS sr_ticket_number, few(k, 65, num(k, 65, 1, quantity)) AS sr_return_quantity, amount AS sr_return_amt,
    amount AS sr_return_amt_inc_tax, cents(k, 66, 0, 40) AS sr_fee, cents(k, 67, 1, 300) AS sr_refunded_cash, cents(k, 68, 1, 300) AS sr_net_loss
FROM returns WHERE c = 0;
INSERT INTO catalog_returns BY NAME
SELECT returned AS cr_returned_date_sk, item AS cr_item_sk, customer AS cr_refunded_customer_sk, customer AS cr_returning_customer_sk,
    num(o, 33, 1, 30) AS cr_returning_addr_sk, num(o, 34, 1, 3) AS cr_call_center_sk, num(k, 64, 1, 6) AS cr_catalog_page_sk,
    o AS cr_order_number, few(k, 65, num(k, 65, 1, quantity)) AS cr_return_quantity, amount AS cr_return_amount,
    amount AS cr_return_amt_inc_tax, cents(k, 66, 0, 40) AS cr_fee, cents(k, 67, 1, 300) AS cr_refunded_cash,
    cents(k, 68, 1, 30) AS cr_reversed_charge, cents(k, 69, 1, 30) AS cr_store_credit, cents(k, 70, 1, 300) AS cr_net_loss
FROM returns WHERE c = 1;
INSERT INTO web_returns BY NAME
SELECT returned AS wr_returned_date_sk, item AS wr_item_sk, customer AS wr_refunded_customer_sk, num(o, 31, 1, 20) AS wr_refunded_cdemo_sk,
    num(o, 33, 1, 30) AS wr_refunded_addr_sk, customer AS wr_returning_customer_sk, num(o, 31, 1, 20) AS wr_returning_cdemo_sk,
    num(o, 33, 1, 30) AS wr_returning_addr_sk, num(o, 38, 1, 4) AS wr_web_page_sk, num(k, 64, 1, 3) AS wr_reason_sk, o AS wr_order_number,
    few(k, 65, num(k, 65, 1, quantity)) AS wr_return_quantity, amount AS wr_return_amt, cents(k, 66, 0, 40) AS wr_fee,
    cents(k, 67, 1, 300) AS wr_refunded_cash, cents(k, 68, 1, 300) AS wr_net_loss
FROM returns WHERE c = 2;
