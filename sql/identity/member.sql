-- name: member
-- reads: touched, old_map, old_edge, verdict, options
-- writes: member
-- grain: one row per (id_type, id) of the persons that are touched, as they were, and per new id
-- Whoever was one person with a touched id is put together anew: edges that count lead nowhere else. Devices are members
-- only with devices = merge; else they attach afterwards (R3). valid: not blocked.
WITH person AS (
    SELECT o.person_id FROM old_map AS o SEMI JOIN touched AS t ON t.id_type = o.id_type AND t.id = o.id
    UNION
    SELECT o.person_id FROM old_map AS o SEMI JOIN (
        SELECT e.id_a FROM old_edge AS e JOIN touched AS t ON t.id_type = e.type_b AND t.id = e.id_b
        WHERE e.kind NOT IN ('seen', 'alias', 'link') AND e.status = 'used'
    ) AS v ON o.id_type = 'user_id' AND v.id_a = o.id
), found AS (
    SELECT o.id_type, o.id FROM old_map AS o SEMI JOIN person AS p ON p.person_id = o.person_id
    UNION
    SELECT id_type, id FROM touched
)
SELECT f.id_type, f.id, CASE WHEN v.id IS NOT NULL THEN v.reason IS NULL ELSE coalesce(o.status <> 'blocked', true) END AS valid
FROM found AS f
LEFT JOIN verdict AS v ON v.id_type = f.id_type AND v.id = f.id
LEFT JOIN old_map AS o ON o.id_type = f.id_type AND o.id = f.id
WHERE f.id_type = 'user_id' OR (f.id_type = 'anonymous_id' AND (SELECT merge_devices FROM options))
