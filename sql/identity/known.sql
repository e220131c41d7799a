-- name: known
-- reads: placed, node, degree, edge_now, gone_edge, old_edge, old_map
-- writes: known
-- grain: one row per id that is placed, said again, or called a previous id by an alias that was judged
-- When each was seen, aliases that call it their previous id included. There is no row for an id that nothing says any more.
WITH wanted AS (
    SELECT id_type, id FROM placed
    UNION SELECT id_type, id FROM node
    UNION SELECT type_a, id_a FROM edge_now WHERE kind = 'alias'
    UNION SELECT type_b, id_b FROM edge_now WHERE kind = 'alias'
    UNION SELECT type_a, id_a FROM gone_edge WHERE kind = 'alias'
), alias AS (
    SELECT type_a AS id_type, id_a AS id, first_seen, last_seen FROM edge_now WHERE kind = 'alias'
    UNION ALL
    SELECT o.type_a, o.id_a, o.first_seen, o.last_seen FROM old_edge AS o
    SEMI JOIN wanted AS w ON w.id_type = o.type_a AND w.id = o.id_a
    ANTI JOIN edge_now AS e ON e.kind = o.kind AND e.type_a = o.type_a AND e.id_a = o.id_a AND e.type_b = o.type_b AND e.id_b = o.id_b
    ANTI JOIN gone_edge AS g ON g.kind = o.kind AND g.type_a = o.type_a AND g.id_a = o.id_a AND g.type_b = o.type_b AND g.id_b = o.id_b
    WHERE o.kind = 'alias'
), called AS (
    SELECT id_type, id, min(first_seen) AS first_seen, max(last_seen) AS last_seen FROM alias GROUP BY id_type, id
)
SELECT w.id_type, w.id, coalesce(n.events, o.events, 0) AS events,
    coalesce(n.own_first, o.own_first) AS own_first, coalesce(n.own_last, o.own_last) AS own_last,
    least(coalesce(n.own_first, o.own_first), c.first_seen) AS first_seen,
    greatest(coalesce(n.own_last, o.own_last), c.last_seen) AS last_seen,
    coalesce(d.partners, o.partners, 0) AS partners
FROM wanted AS w
LEFT JOIN node AS n ON n.id_type = w.id_type AND n.id = w.id
LEFT JOIN old_map AS o ON o.id_type = w.id_type AND o.id = w.id
LEFT JOIN called AS c ON c.id_type = w.id_type AND c.id = w.id
LEFT JOIN degree AS d ON w.id_type = 'user_id' AND d.id = w.id
WHERE coalesce(n.events, o.events, 0) > 0 OR c.id IS NOT NULL
