
DECLARE
    since_epoch bigint;
    since timestamptz;
    held bigint;
    latest bigint;
    known bigint;
BEGIN
    SELECT h.since_epoch, h.since, h.epoch INTO since_epoch, since, held FROM @histories@ h WHERE h.view = $1;
    IF held IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = format('no history is kept of %s', $1);
    ELSIF $2 IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'the moment is NULL';
    END IF;
    -- The last epoch such that no epoch up to it holds a later commit of a source.
    SELECT t.epoch INTO known FROM @times@ t
        WHERE t.view = $1 AND coalesce(t.latest_commit, @never@) <= $2
        ORDER BY coalesce(t.latest_commit, @never@) DESC, t.epoch DESC LIMIT 1;
    IF known IS NULL OR known < since_epoch THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the history of %s begins at %s', quote_ident($1), coalesce(since::text, 'its first epoch')),
            HINT = 'Ask for that moment or a later one.';
    END IF;
    -- Where the view went on without its history, what came after it is not known.
    SELECT e.epoch INTO latest FROM @epochs@ e WHERE e.view = $1 ORDER BY e.epoch DESC LIMIT 1;
    IF latest > held AND NOT EXISTS (SELECT FROM @times@ t WHERE t.view = $1 AND t.epoch > known) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the history of %s ended with epoch %s, and the view went on', quote_ident($1), held);
    END IF;
    RETURN known;
END
