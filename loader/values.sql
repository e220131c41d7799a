-- The rules of one value (warehouse-schema.md, sections 1 and 5) as macros. Below, `t` is the text that
-- json_extract_string gives, `k` the kind that json_type gives. NULL in, NULL out.

-- An instant of the years 1 to 9999, else NULL.
CREATE MACRO possible_instant(i) AS CASE WHEN i >= TIMESTAMPTZ '0001-01-01 00:00:00+00'
    AND i < TIMESTAMPTZ '10000-01-01 00:00:00+00' THEN i END;

-- A datetime as most SDKs write it, in UTC with milliseconds, as an instant; of any other text NULL. At this length all
-- numbers have all of their digits, and there is no blank before or after, which strptime would skip.
CREATE MACRO usual_instant(t) AS CASE WHEN strlen(t) = 24 AND t >= '0002' AND t < '9999' AND ends_with(t, 'Z')
    THEN make_timestamptz(epoch_us(try_strptime(t, '%Y-%m-%dT%H:%M:%S.%gZ'))) END;

-- A datetime as an instant, else NULL. The cast takes more than the rules do, hence the pattern; it does not take `z`.
-- Within the years 2 to 9998 no zone leads out of the possible ones; then the cast is made once, not three times.
CREATE MACRO instant(t) AS coalesce(usual_instant(t), CASE WHEN regexp_full_match(t,
    '\d{4}-\d{2}-\d{2}([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?([Zz]|[+-]([01]\d|2[0-3]):?[0-5]\d)?)?')
    THEN CASE WHEN t >= '0002' AND t < '9999' THEN try_cast(upper(t) AS TIMESTAMPTZ)
        ELSE possible_instant(try_cast(upper(t) AS TIMESTAMPTZ)) END END);

-- When it happened by the device's clock, corrected by how far that was off when the event was sent (section 1).
CREATE MACRO device_time(received, sent, original) AS possible_instant(make_timestamp(epoch_us(received)
    - (epoch_us(sent) - epoch_us(original))) AT TIME ZONE 'UTC');

CREATE MACRO instant_text(i) AS strftime(i, '%Y-%m-%dT%H:%M:%S.%fZ');

CREATE MACRO blank_array(t) AS t IN ('[]', '[""]', '[[]]');

-- A value without content (section 3): these are absent. {} never gets here: objects are walked.
CREATE MACRO is_blank(t, k) AS CASE k WHEN 'VARCHAR' THEN t = '' WHEN 'ARRAY' THEN blank_array(t)
    WHEN 'OBJECT' THEN false ELSE t IS NULL END;

-- A number with fraction or exponent within the range of DOUBLE, else NULL (its text is then all that holds it).
CREATE MACRO double_of(t) AS CASE WHEN (contains(t, '.') OR contains(t, 'e') OR contains(t, 'E'))
    AND isfinite(try_cast(t AS DOUBLE)) THEN try_cast(t AS DOUBLE) END;

-- What a value is: the first match of the types of section 5, by its text and kind. Integers are told apart by
-- whether a DOUBLE holds them: BIGINT up to 2^53, EXACT beyond but held, LONG not held. NUMBER is a number that
-- only its text holds. NULL: blank, or an object.
CREATE MACRO class_varchar(t) AS CASE WHEN t = '' THEN NULL WHEN t >= ':' THEN 'VARCHAR' -- a datetime begins with a digit
    WHEN t LIKE '____-__-__%' AND instant(t) IS NOT NULL THEN 'TIMESTAMPTZ' WHEN t IS NOT NULL THEN 'VARCHAR' END;
CREATE MACRO class_bigint(t) AS CASE WHEN strlen(t) < 16 THEN 'BIGINT'
    WHEN t IS NULL THEN NULL
    WHEN try_cast(t AS BIGINT) IS NULL THEN 'NUMBER'
    WHEN try_cast(t AS BIGINT) BETWEEN -9007199254740992 AND 9007199254740992 THEN 'BIGINT'
    WHEN try_cast(t AS HUGEINT) = try_cast(try_cast(t AS DOUBLE) AS HUGEINT) THEN 'EXACT' ELSE 'LONG' END;
CREATE MACRO class_double(t) AS CASE WHEN strlen(t) < 300 AND contains(t, '.') AND NOT contains(t, 'e') THEN 'DOUBLE'
    WHEN double_of(t) IS NOT NULL THEN 'DOUBLE' WHEN t IS NOT NULL THEN 'NUMBER' END;
-- Integers and other numbers mixed: their text tells them apart. NaN and the like begin after the digits.
CREATE MACRO kind_of_number(t) AS CASE WHEN contains(t, '.') OR contains(t, 'e') OR t >= ':' OR starts_with(t, '-I')
    OR starts_with(t, '-i') THEN 'DOUBLE' ELSE 'BIGINT' END;
CREATE MACRO class_number(t) AS CASE WHEN kind_of_number(t) = 'DOUBLE' THEN class_double(t) ELSE class_bigint(t) END;
CREATE MACRO class_boolean(t) AS CASE WHEN t IS NOT NULL THEN 'BOOLEAN' END;
CREATE MACRO class_array(t) AS CASE WHEN NOT blank_array(t) THEN 'JSON' END;
CREATE MACRO class_of(t, k) AS CASE k WHEN 'VARCHAR' THEN class_varchar(t) WHEN 'UBIGINT' THEN class_bigint(t)
    WHEN 'BIGINT' THEN class_bigint(t) WHEN 'DOUBLE' THEN class_double(t) WHEN 'NUMBER' THEN class_number(t)
    WHEN 'BOOLEAN' THEN class_boolean(t) WHEN 'ARRAY' THEN class_array(t) END;

-- Whether all values of an object are what their kind says: no text is empty or begins like a datetime, no array is
-- blank, no number is long, has an exponent or is none. (So is nearly every object; of a few that are it says no.) doc:
-- as the engine writes it, without white space.
CREATE MACRO all_plain(doc) AS NOT regexp_matches(doc,
    '""|\[\]|"[0-9]{4}-[0-9]{2}-[0-9]{2}|[:,\[]-?([0-9]{15}|[0-9.]+[eE]|(?i:nan|inf))');

-- The value's JSON text.
CREATE MACRO json_of(t, k) AS CASE WHEN k = 'VARCHAR' THEN CAST(to_json(t) AS VARCHAR) ELSE t END;

-- The value as a cell of a column of the type that the name says, NULL where it does not fit (section 6).
CREATE MACRO cell_bigint(t, k) AS CASE WHEN k IN ('UBIGINT', 'BIGINT') THEN try_cast(t AS BIGINT) END;
CREATE MACRO cell_double(t, k) AS CASE WHEN k = 'DOUBLE' THEN double_of(t) WHEN k IN ('UBIGINT', 'BIGINT')
    AND try_cast(t AS BIGINT) BETWEEN -9007199254740992 AND 9007199254740992 THEN try_cast(t AS DOUBLE) END;
-- In the load that makes the column, integers beyond 2^53 that are exact count too; `plan` made sure that all are.
CREATE MACRO cell_double_new(t, k) AS CASE WHEN k = 'DOUBLE' THEN double_of(t)
    WHEN k IN ('UBIGINT', 'BIGINT') THEN try_cast(t AS DOUBLE) END;
CREATE MACRO cell_boolean(t, k) AS CASE WHEN k = 'BOOLEAN' THEN t = 'true' END;
CREATE MACRO cell_timestamptz(t, k) AS CASE WHEN k = 'VARCHAR' THEN instant(t) END;
CREATE MACRO cell_varchar(t, k) AS CASE WHEN k = 'VARCHAR' THEN CASE WHEN t = '' THEN NULL WHEN t >= ':' THEN t
    WHEN t LIKE '____-__-__%' THEN coalesce(instant_text(instant(t)), t) ELSE t END
    WHEN k = 'ARRAY' THEN CASE WHEN blank_array(t) THEN NULL ELSE t END
    WHEN k = 'OBJECT' THEN NULL ELSE t END;
CREATE MACRO cell_json(t, k) AS CASE WHEN k = 'OBJECT' OR is_blank(t, k) THEN NULL ELSE json_of(t, k) END;
-- A value under `json_paths`: whatever it is, but "" (section 3).
CREATE MACRO cell_kept(t, k) AS CASE WHEN k = 'VARCHAR' AND t = '' THEN NULL ELSE json_of(t, k) END;
-- Such a value where the column is of another type: it is JSON, so it does not fit.
CREATE MACRO cell_no_bigint(t, k) AS NULL::BIGINT;
CREATE MACRO cell_no_double(t, k) AS NULL::DOUBLE;
CREATE MACRO cell_no_boolean(t, k) AS NULL::BOOLEAN;
CREATE MACRO cell_no_timestamptz(t, k) AS NULL::TIMESTAMPTZ;

CREATE MACRO is_container(t, doc, pointer) AS (starts_with(t, '{') OR starts_with(t, '['))
    AND json_type(doc, pointer) IN ('OBJECT', 'ARRAY');

-- A scalar field of the event (section 1): its text, NULL where blank, object or array. json_transform, which gives `t`,
-- writes exponents otherwise than json_extract_string.
CREATE MACRO scalar(t, doc, pointer) AS CASE WHEN is_container(t, doc, pointer) THEN NULL
    WHEN t < ':' AND (contains(t, 'e+') OR contains(t, 'e-')) AND regexp_full_match(t, '-?[0-9.]+e[+-][0-9]+')
        THEN json_extract_string(doc, pointer)
    ELSE nullif(t, '') END;

-- What an object looks like: equal for objects with the same keys in the same order and the same kinds throughout.
-- In brackets, because `$..*` leaves out the root itself.
CREATE MACRO shape_of(doc) AS CASE WHEN doc IS NOT NULL
    THEN hash(json_type(doc, '$..*'), json_keys('[' || doc || ']', '$..*')) END;

-- What a kind is called in JSON's own words.
CREATE MACRO json_word(k) AS CASE k WHEN 'VARCHAR' THEN 'string' WHEN 'UBIGINT' THEN 'number' WHEN 'BIGINT' THEN 'number'
    WHEN 'DOUBLE' THEN 'number' ELSE lower(k) END;

-- How many nodes of a list of kinds are of this one.
CREATE MACRO count_kind(kinds, k) AS len(list_filter(kinds, lambda x: x = k));
CREATE MACRO count_filled(kinds) AS len(kinds) - CASE WHEN list_contains(kinds, 'NULL') THEN count_kind(kinds, 'NULL')
    ELSE 0 END;

-- Whether a path of json_tree leads through objects only; a `[n]` outside quotes is an element of an array.
CREATE MACRO through_objects(fullkey) AS NOT contains(fullkey, '[')
    OR regexp_full_match(fullkey, '(?s)\$(\.("(\\.|[^"\\])*"|[^."\[]+))*');

-- The nodes of a JSON text that can be reached through objects, the root left out; paths_of without their values. Lists,
-- because json_tree beside a relation copies the whole text to each of its nodes: memory in the square of its size.
CREATE MACRO nodes_of(doc) AS (SELECT list({'id': n.id, 'fullkey': n.fullkey, 'kind': n.type, 'value': n.value})
    FROM json_tree(doc) n WHERE n.fullkey <> '$' AND through_objects(n.fullkey));
CREATE MACRO paths_of(doc) AS (SELECT list({'id': n.id, 'fullkey': n.fullkey, 'kind': n.type})
    FROM json_tree(doc) n WHERE n.fullkey <> '$' AND through_objects(n.fullkey));

-- The members of an object or array, for the same reason. key: a name, or a position as text.
CREATE MACRO members_of(doc) AS (SELECT list({'id': n.id, 'key': n.key, 'value': n.value}) FROM json_each(doc) n);
