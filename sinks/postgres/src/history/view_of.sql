
DECLARE
    known text;
BEGIN
    SELECT h.view INTO known FROM @histories@ h WHERE h.view = $1;
    IF known IS NULL THEN
        -- A table of a source, such as app.orders, is tracked by the view app_orders.
        SELECT h.view INTO known FROM @histories@ h WHERE h.view = replace($1, '.', '_');
    END IF;
    IF known IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_table',
            MESSAGE = format('no history is kept of %s', coalesce(quote_ident($1), 'NULL')),
            HINT = (SELECT 'There is one of: ' || string_agg(quote_ident(h.view), ', ' ORDER BY h.view) FROM @histories@ h);
    END IF;
    RETURN known;
END
