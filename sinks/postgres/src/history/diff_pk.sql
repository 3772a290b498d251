
DECLARE
    of_view text := @schema@.tidegate_history_view($1);
    condition text := @schema@.tidegate_history_key(of_view, $2);
    before bigint := @schema@.tidegate_history_epoch(of_view, $3);
    after bigint := @schema@.tidegate_history_epoch(of_view, $4);
    answer jsonb;
BEGIN
    IF $3 > $4 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = '"from" is later than "to"';
    END IF;
    -- From the version that was there at first: what ended before is not looked at.
    EXECUTE format(
        'SELECT jsonb_build_object('
        '''from'', jsonb_agg(v.own) FILTER (WHERE v.began <= $2) -> 0, '
        '''to'', jsonb_agg(v.own) FILTER (WHERE v.ended IS NULL OR v.ended > $3) -> 0, '
        '''versions'', coalesce(jsonb_agg(v.whole ORDER BY v.began), ''[]'')) '
        'FROM (SELECT to_jsonb(h.*) AS whole, to_jsonb(h.*) - ARRAY[@own_quoted@] AS own, '
        'h._valid_from_epoch AS began, h._valid_to_epoch AS ended FROM %1$I.%2$I h '
        'WHERE %3$s AND h._valid_from_epoch <= $3 AND (h._valid_to_epoch IS NULL OR h._valid_to_epoch > $2) '
        'AND h._valid_from_epoch >= coalesce((SELECT h._valid_from_epoch FROM %1$I.%2$I h '
        'WHERE %3$s AND h._valid_from_epoch <= $2 ORDER BY h._valid_from_epoch DESC LIMIT 1), $2)) v',
        @schema_text@, of_view || '_history', condition
    ) INTO answer USING $2, before, after;
    RETURN answer;
END
