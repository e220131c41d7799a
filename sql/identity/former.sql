-- name: former
-- reads: former_map, old_map
-- writes: former
-- grain: one row per id of before, as far as it may matter: whose it was
-- Where all is made anew old_map is empty, and this is all that is left of before; else it is old_map.
SELECT id_type, id, person_id FROM former_map
UNION ALL
SELECT id_type, id, person_id FROM old_map
