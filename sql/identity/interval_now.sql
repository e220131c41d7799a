-- name: interval_now
-- reads: device_event, live_edge, near_after
-- writes: interval_now
-- grain: one row per stretch of a shared device
-- R4: from an event with a user id on, the device is that person's, until another's event or a reset. What was before the
-- first is that one's too. A reset's own instant still belongs to the stretch that it ends, so that ends a microsecond later.
WITH user_event AS (
    SELECT d.anonymous_id, d.timestamp AS moment, m.person_id, {'received': d.received_at, 'id': d.id} AS place
    FROM device_event AS d
    JOIN live_edge AS l ON l.kind = 'seen' AND l.id_a = d.user_id AND l.id_b = d.anonymous_id
    JOIN near_after AS m ON m.id_type = 'user_id' AND m.id = d.user_id
    WHERE NOT d.reset
), turn AS (
    SELECT anonymous_id, NULL::TIMESTAMPTZ AS moment, min_by(person_id, {'at': moment, 'place': place}) AS person_id, false AS ends
    FROM user_event GROUP BY anonymous_id
    UNION ALL
    SELECT anonymous_id, moment, max_by(person_id, place), false FROM user_event GROUP BY anonymous_id, moment
    UNION ALL
    SELECT DISTINCT d.anonymous_id, d.timestamp + INTERVAL 1 microsecond, NULL::VARCHAR, true
    FROM device_event AS d SEMI JOIN user_event AS u ON u.anonymous_id = d.anonymous_id
    WHERE d.reset AND d.timestamp < TIMESTAMPTZ '9999-12-31 23:59:59.999999+00' -- nothing comes after that
), one AS (
    -- An event of a user a microsecond after a reset begins a stretch at the instant at which the other ends.
    SELECT anonymous_id, moment, max(person_id) AS person_id, bool_or(ends) AS ends FROM turn GROUP BY anonymous_id, moment
), changed AS (
    SELECT *, NOT ends AND person_id IS NOT DISTINCT FROM lag(person_id) OVER device AND row_number() OVER device > 1 AS same
    FROM one WINDOW device AS (PARTITION BY anonymous_id ORDER BY moment NULLS FIRST)
), stretch AS (
    SELECT anonymous_id, person_id, moment AS valid_from, lead(moment) OVER (PARTITION BY anonymous_id ORDER BY moment NULLS FIRST) AS valid_to
    FROM changed WHERE NOT same
)
SELECT anonymous_id, person_id, valid_from, valid_to FROM stretch WHERE person_id IS NOT NULL
