-- name: attachment
-- reads: device, live_edge, grouped, old_map
-- writes: attachment
-- grain: one row per device of `device` that is valid
-- R3: a device belongs to the persons of the user ids it is tied to: one, and it is attached; more, and it is shared. The
-- user ids of persons that nothing touched keep their person_id for a label.
WITH tie AS (
    SELECT l.id_b AS device, l.id_a AS user_id FROM live_edge AS l SEMI JOIN device AS d ON d.id = l.id_b
    WHERE l.type_a = 'user_id' AND l.type_b = 'anonymous_id'
    UNION
    SELECT l.id_a, l.id_b FROM live_edge AS l SEMI JOIN device AS d ON d.id = l.id_a
    WHERE l.type_a = 'anonymous_id' AND l.type_b = 'user_id'
), labelled AS (
    SELECT t.device, g.label, CASE WHEN g.label IS NULL THEN o.person_id END AS person_id
    FROM tie AS t
    LEFT JOIN grouped AS g ON g.id_type = 'user_id' AND g.id = t.user_id
    LEFT JOIN old_map AS o ON o.id_type = 'user_id' AND o.id = t.user_id
)
SELECT d.id, count(DISTINCT coalesce(l.label, l.person_id)) AS persons, min(l.label) AS label, min(l.person_id) AS person_id
FROM device AS d LEFT JOIN labelled AS l ON l.device = d.id
WHERE d.valid GROUP BY d.id
