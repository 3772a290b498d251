
DECLARE
    wanted text[];
    strange text;
    missing text;
    relation text := format('%I.%I', @schema_text@, $1 || '_history');
    is_hashed boolean;
    condition text := 'TRUE';
    ours text[] := '{}';
    theirs text[] := '{}';
    name text;
    kind text;
BEGIN
    SELECT h.key INTO wanted FROM @histories@ h WHERE h.view = $1;
    IF wanted IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the rows of %s have no key', quote_ident($1)),
            HINT = format('Ask %s.%s(ts) for all rows.', quote_ident(@schema_text@), quote_ident($1 || '_asof_ts'));
    ELSIF jsonb_typeof($2) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the key of %s is not a JSON object', quote_ident($1)),
            HINT = format('Its columns: %s.', array_to_string(wanted, ', '));
    END IF;
    SELECT string_agg(quote_ident(k), ', ' ORDER BY k) INTO strange FROM jsonb_object_keys($2) k WHERE k <> ALL (wanted);
    SELECT string_agg(quote_ident(k), ', ') INTO missing FROM unnest(wanted) k WHERE NOT jsonb_exists($2, k);
    IF strange IS NOT NULL OR missing IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the key of %s', quote_ident($1)) || coalesce(' lacks ' || missing, '')
                || CASE WHEN strange IS NOT NULL AND missing IS NOT NULL THEN ' and' ELSE '' END
                || coalesce(' has no ' || strange, ''),
            HINT = format('Its columns: %s.', array_to_string(wanted, ', '));
    END IF;
    FOR name, kind IN
        SELECT w.name, format_type(a.atttypid, a.atttypmod)
        FROM unnest(wanted) WITH ORDINALITY w (name, at)
        JOIN pg_attribute a ON a.attrelid = relation::regclass AND a.attname = w.name AND NOT a.attisdropped
        ORDER BY w.at
    LOOP
        IF kind = 'json' THEN
            -- Compared as the text that it is.
            ours := ours || format('(h.%I)::text', name);
            theirs := theirs || format('($1 ->> %L)', name);
        ELSE
            ours := ours || format('h.%I', name);
            theirs := theirs || format('(jsonb_populate_record(NULL::%s, $1)).%I', relation, name);
        END IF;
        condition := condition || CASE jsonb_typeof($2 -> name)
            WHEN 'null' THEN format(' AND h.%I IS NULL', name)
            ELSE format(' AND %s = %s', ours[cardinality(ours)], theirs[cardinality(theirs)])
        END;
        is_hashed := coalesce(is_hashed, FALSE) OR kind = 'json';
    END LOOP;
    IF is_hashed OR cardinality(wanted) >= @columns_max@ THEN
        condition := condition || format(' AND hash_record_extended(ROW(%s), 0) = hash_record_extended(ROW(%s), 0)',
            array_to_string(ours, ', '), array_to_string(theirs, ', '));
    END IF;
    RETURN condition;
END
