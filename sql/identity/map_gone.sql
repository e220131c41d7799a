-- name: map_gone
-- reads: placed, known, old_map
-- writes: map_gone
-- grain: one row per id that nothing says any more
SELECT o.id_type, o.id FROM old_map AS o
SEMI JOIN placed AS p ON p.id_type = o.id_type AND p.id = o.id
ANTI JOIN known AS k ON k.id_type = o.id_type AND k.id = o.id
