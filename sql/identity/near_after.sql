-- name: near_after
-- reads: map_now, map_gone, old_map
-- writes: near_after (view)
-- grain: one row per id that is near by
SELECT id_type, id, person_id, status, first_seen, last_seen FROM map_now
UNION ALL
SELECT o.id_type, o.id, o.person_id, o.status, o.first_seen, o.last_seen FROM old_map AS o
ANTI JOIN map_now AS m ON m.id_type = o.id_type AND m.id = o.id
ANTI JOIN map_gone AS g ON g.id_type = o.id_type AND g.id = o.id
