-- name: live_edge
-- reads: edge_now, gone_edge, old_edge
-- writes: live_edge (view)
-- grain: one row per edge that counts for who is who, of all there are
SELECT kind, type_a, id_a, type_b, id_b FROM edge_now WHERE live
UNION ALL
SELECT o.kind, o.type_a, o.id_a, o.type_b, o.id_b FROM old_edge AS o
ANTI JOIN edge_now AS e ON e.kind = o.kind AND e.type_a = o.type_a AND e.id_a = o.id_a AND e.type_b = o.type_b AND e.id_b = o.id_b
ANTI JOIN gone_edge AS g ON g.kind = o.kind AND g.type_a = o.type_a AND g.id_a = o.id_a AND g.type_b = o.type_b AND g.id_b = o.id_b
WHERE o.status IN ('used', 'shared')
