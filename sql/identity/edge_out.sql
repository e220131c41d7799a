-- name: edge_out
-- reads: edge_now, placed, old_edge, gone_edge, near_after
-- writes: edge_out
-- grain: one row per edge that is new or changes
-- A tie to a device that is shared says so: it counts for that, and for no attachment.
WITH every AS (
    SELECT kind, type_a, id_a, type_b, id_b, events, first_seen, last_seen, first_event, status, reason FROM edge_now
    UNION ALL
    SELECT o.kind, o.type_a, o.id_a, o.type_b, o.id_b, o.events, o.first_seen, o.last_seen, o.first_event, NULL, NULL
    FROM old_edge AS o
    JOIN placed AS p ON p.id_type = 'anonymous_id'
        AND ((o.type_b = 'anonymous_id' AND p.id = o.id_b) OR (o.type_a = 'anonymous_id' AND p.id = o.id_a))
    ANTI JOIN edge_now AS e ON e.kind = o.kind AND e.type_a = o.type_a AND e.id_a = o.id_a AND e.type_b = o.type_b AND e.id_b = o.id_b
    ANTI JOIN gone_edge AS g ON g.kind = o.kind AND g.type_a = o.type_a AND g.id_a = o.id_a AND g.type_b = o.type_b AND g.id_b = o.id_b
    WHERE o.status IN ('used', 'shared') AND (o.status = 'shared') <> (p.status = 'shared')
)
SELECT e.kind, e.type_a, e.id_a, e.type_b, e.id_b, e.events, e.first_seen, e.last_seen, e.first_event,
    coalesce(e.status, CASE WHEN d.status = 'shared' THEN 'shared' ELSE 'used' END) AS status, e.reason
FROM every AS e LEFT JOIN near_after AS d ON d.id_type = 'anonymous_id'
    AND d.id = CASE WHEN e.type_b = 'anonymous_id' THEN e.id_b WHEN e.type_a = 'anonymous_id' THEN e.id_a END
