-- name: change_now
-- reads: holding, retired, edge_now, gone_edge, old_edge, former, near_after, options
-- writes: change_now
-- grain: one row per change of a person: new, merge, split, restore
-- because: the edge that made the change, where there is one: it began to count (merge) or ceased to (split, restore).
WITH begun AS (
    SELECT a.person_id AS old_id, e.type_a, e.id_a, e.type_b, e.id_b, e.first_event, e.first_seen
    FROM edge_now AS e JOIN former AS a ON a.id_type = e.type_a AND a.id = e.id_a
    LEFT JOIN former AS b ON b.id_type = e.type_b AND b.id = e.id_b
    WHERE e.live AND NOT e.was_live AND a.person_id IS DISTINCT FROM b.person_id
    UNION ALL
    SELECT b.person_id, e.type_a, e.id_a, e.type_b, e.id_b, e.first_event, e.first_seen
    FROM edge_now AS e JOIN former AS b ON b.id_type = e.type_b AND b.id = e.id_b
    LEFT JOIN former AS a ON a.id_type = e.type_a AND a.id = e.id_a
    WHERE e.live AND NOT e.was_live AND a.person_id IS DISTINCT FROM b.person_id
), ended AS (
    SELECT type_a, id_a, type_b, id_b, first_event, first_seen FROM edge_now WHERE was_live AND NOT live
    UNION ALL
    SELECT o.type_a, o.id_a, o.type_b, o.id_b, o.first_event, o.first_seen FROM old_edge AS o
    SEMI JOIN gone_edge AS g ON g.kind = o.kind AND g.type_a = o.type_a AND g.id_a = o.id_a AND g.type_b = o.type_b AND g.id_b = o.id_b
    WHERE o.status IN ('used', 'shared')
), ceased AS (
    SELECT m.person_id AS new_id, e.* FROM ended AS e JOIN near_after AS m ON m.id_type = e.type_a AND m.id = e.id_a
    UNION ALL
    SELECT m.person_id, e.* FROM ended AS e JOIN near_after AS m ON m.id_type = e.type_b AND m.id = e.id_b
), reason AS (
    SELECT old_id AS person_id, true AS begun, min_by({'type_a': type_a, 'id_a': id_a, 'type_b': type_b, 'id_b': id_b,
        'event_id': first_event.id}, {'at': first_seen, 'a': id_a, 'b': id_b}) AS edge
    FROM begun WHERE old_id IS NOT NULL GROUP BY old_id
    UNION ALL
    SELECT new_id, false, min_by({'type_a': type_a, 'id_a': id_a, 'type_b': type_b, 'id_b': id_b,
        'event_id': first_event.id}, {'at': first_seen, 'a': id_a, 'b': id_b})
    FROM ceased WHERE new_id IS NOT NULL GROUP BY new_id
), change AS (
    SELECT kind, came_from AS old_id, person_id AS new_id FROM holding WHERE kind IN ('new', 'split')
    UNION ALL
    SELECT kind, came_from, person_id FROM holding WHERE kind = 'restore'
    UNION ALL
    SELECT CASE WHEN new_id IS NULL THEN 'split' ELSE 'merge' END, old_id, new_id FROM retired
)
SELECT (SELECT load_id FROM options) AS load_id, c.kind, c.old_id, c.new_id,
    r.edge.type_a AS id_type_a, r.edge.id_a AS id_a, r.edge.type_b AS id_type_b, r.edge.id_b AS id_b, r.edge.event_id AS event_id
FROM change AS c
LEFT JOIN reason AS r ON (c.kind = 'merge' AND r.begun AND r.person_id = c.old_id)
    OR (c.kind IN ('split', 'restore') AND NOT r.begun AND r.person_id = c.new_id)
