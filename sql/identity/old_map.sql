-- name: old_map
-- reads: near_own, old_edge, every_map
-- writes: old_map
-- grain: one row per id of before that is near by, or at an end of an edge of old_edge
SELECT m.* FROM every_map AS m SEMI JOIN (
    SELECT id FROM near_own UNION SELECT id_a FROM old_edge UNION SELECT id_b FROM old_edge
) AS n ON n.id = m.id
