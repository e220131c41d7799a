-- name: dirty
-- reads: said, alias_said, link_said, old_edge, rule_changed
-- writes: dirty
-- grain: one row per edge (kind, type_a, id_a, type_b, id_b) to judge anew
-- Edges that are new or were said again, aliases whose previous id may be of another type now, and those that a change
-- of the operator's rules names.
SELECT s.kind, 'user_id' AS type_a, s.id_a, s.type_b, s.id_b, s.events + coalesce(o.events, 0) AS events,
    least(s.first_seen, o.first_seen) AS first_seen, greatest(s.last_seen, o.last_seen) AS last_seen,
    CASE WHEN o.first_event < s.first_event THEN o.first_event ELSE s.first_event END AS first_event
FROM said AS s LEFT JOIN old_edge AS o
    ON o.kind = s.kind AND o.type_a = 'user_id' AND o.id_a = s.id_a AND o.type_b = s.type_b AND o.id_b = s.id_b
WHERE s.kind <> 'alias'
UNION ALL
SELECT 'alias', type_a, id_a, 'user_id', id_b, events, first_seen, last_seen, first_event
FROM alias_said WHERE NOT (type_a = 'user_id' AND id_a = id_b)
UNION ALL
SELECT 'link', type_a, id_a, type_b, id_b, 0, added_at, added_at, NULL FROM link_said
UNION ALL
SELECT o.kind, o.type_a, o.id_a, o.type_b, o.id_b, o.events, o.first_seen, o.last_seen, o.first_event
FROM old_edge AS o
WHERE o.kind <> 'link'
    AND (EXISTS (SELECT 1 FROM rule_changed AS r WHERE r.type_a = o.type_a AND r.id_a = o.id_a)
        OR EXISTS (SELECT 1 FROM rule_changed AS r WHERE r.type_a = o.type_b AND r.id_a = o.id_b))
    AND NOT EXISTS (SELECT 1 FROM said AS s WHERE s.kind = o.kind AND s.kind <> 'alias' AND s.id_a = o.id_a
        AND s.type_b = o.type_b AND s.id_b = o.id_b)
    AND NOT (o.kind = 'alias' AND EXISTS (SELECT 1 FROM alias_said AS s WHERE s.id_a = o.id_a AND s.id_b = o.id_b))
