
DECLARE
    of_view text := @schema@.tidegate_history_view($1);
    condition text := @schema@.tidegate_history_key(of_view, $2);
    as_of bigint := @schema@.tidegate_history_epoch(of_view, $3);
    answer jsonb;
BEGIN
    -- Versions of a key do not overlap: only the last that began by then can be the one.
    EXECUTE format(
        'SELECT to_jsonb(h.*) - ARRAY[@own_quoted@] FROM (SELECT h.* FROM %I.%I h WHERE %s AND h._valid_from_epoch <= $2 '
        'ORDER BY h._valid_from_epoch DESC LIMIT 1) h WHERE h._valid_to_epoch IS NULL OR h._valid_to_epoch > $2',
        @schema_text@, of_view || '_history', condition
    ) INTO answer USING $2, as_of;
    RETURN answer;
END
