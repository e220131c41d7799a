-- name: newly_blocked
-- reads: known, part, old_map
-- writes: newly_blocked
-- grain: one row per id that was somebody's, and is nobody's now: the operator blocks it
-- A table of its own, so that the engine sees that it is empty on most nights, and does not look through all events.
SELECT k.id_type, k.id FROM known AS k
JOIN old_map AS o ON o.id_type = k.id_type AND o.id = k.id
LEFT JOIN part AS p ON p.id_type = k.id_type AND p.id = k.id
WHERE coalesce(p.status, o.status) = 'blocked' AND o.status <> 'blocked' AND o.events > 0
