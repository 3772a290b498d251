
DECLARE
    since_epoch bigint;
    held bigint;
BEGIN
    SELECT h.since_epoch, h.epoch INTO since_epoch, held FROM @histories@ h WHERE h.view = $1;
    IF held IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = format('no history is kept of %s', $1);
    ELSIF $2 IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'the epoch is NULL';
    ELSIF $2 < since_epoch OR $2 > held THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the history of %s holds epochs %s to %s', quote_ident($1), since_epoch, held);
    END IF;
    RETURN $2;
END
