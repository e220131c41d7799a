-- name: device
-- reads: touched, live_edge, member, verdict, old_map, options
-- writes: device
-- grain: one row per device to attach anew: touched itself, or tied to a user id of a touched person
WITH found AS (
    SELECT id FROM touched WHERE id_type = 'anonymous_id'
    UNION
    SELECT l.id_b FROM live_edge AS l SEMI JOIN member AS m ON m.id_type = l.type_a AND m.id = l.id_a
    WHERE l.type_a = 'user_id' AND l.type_b = 'anonymous_id'
    UNION
    SELECT l.id_a FROM live_edge AS l SEMI JOIN member AS m ON m.id_type = l.type_b AND m.id = l.id_b
    WHERE l.type_a = 'anonymous_id' AND l.type_b = 'user_id'
    UNION
    SELECT o.id FROM old_map AS o SEMI JOIN (
        SELECT p.person_id FROM old_map AS p SEMI JOIN member AS m ON m.id_type = p.id_type AND m.id = p.id
    ) AS q ON q.person_id = o.person_id
    WHERE o.id_type = 'anonymous_id'
)
SELECT f.id, CASE WHEN v.id IS NOT NULL THEN v.reason IS NULL ELSE coalesce(o.status <> 'blocked', true) END AS valid
FROM found AS f
LEFT JOIN verdict AS v ON v.id_type = 'anonymous_id' AND v.id = f.id
LEFT JOIN old_map AS o ON o.id_type = 'anonymous_id' AND o.id = f.id
WHERE NOT (SELECT merge_devices FROM options)
