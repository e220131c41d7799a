-- name: gone_edge
-- reads: old_edge, alias_said, link_said
-- writes: gone_edge
-- grain: one row per edge that is no more
-- An alias whose previous id is of another type now stands under that; a link ends with its rule.
SELECT o.kind, o.type_a, o.id_a, o.type_b, o.id_b
FROM old_edge AS o JOIN alias_said AS s ON o.kind = 'alias' AND s.id_a = o.id_a AND s.id_b = o.id_b
WHERE s.type_a <> o.type_a
UNION ALL
SELECT o.kind, o.type_a, o.id_a, o.type_b, o.id_b
FROM old_edge AS o ANTI JOIN link_said AS l
    ON l.type_a = o.type_a AND l.id_a = o.id_a AND l.type_b = o.type_b AND l.id_b = o.id_b
WHERE o.kind = 'link'
