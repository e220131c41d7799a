-- name: map_now
-- reads: known, part, holding, old_map, example
-- writes: map_now
-- grain: one row per id that is placed or said again: who it is now
SELECT k.id_type, k.id,
    CASE WHEN p.id IS NULL THEN o.person_id ELSE coalesce(h.person_id, p.person_id) END AS person_id,
    coalesce(p.status, o.status) AS status,
    k.first_seen, k.last_seen, k.events, e.event_id AS example_event_id, k.own_first, k.own_last, k.partners
FROM known AS k
LEFT JOIN part AS p ON p.id_type = k.id_type AND p.id = k.id
LEFT JOIN holding AS h ON h.label = p.label
LEFT JOIN old_map AS o ON o.id_type = k.id_type AND o.id = k.id
LEFT JOIN example AS e ON e.id_type = k.id_type AND e.id = k.id
