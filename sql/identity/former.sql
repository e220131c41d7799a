-- name: former
-- reads: former_map, old_map, options
-- writes: former
-- grain: one row per id of before, as far as it may matter: whose it was
SELECT f.id_type, f.id, f.person_id FROM former_map AS f
WHERE (SELECT everything FROM options) OR f.id IN (SELECT id FROM old_map)
