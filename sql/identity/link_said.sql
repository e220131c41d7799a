-- name: link_said
-- reads: rule, node, old_map, alias_said
-- writes: link_said
-- grain: one row per link rule whose two ids both occur
-- R2, R13: the operator's own statement that two ids are one person's.
WITH there AS (
    SELECT r.*, EXISTS (SELECT 1 FROM node AS n WHERE n.id_type = r.type_a AND n.id = r.id_a)
        OR EXISTS (SELECT 1 FROM old_map AS o WHERE o.id_type = r.type_a AND o.id = r.id_a)
        OR EXISTS (SELECT 1 FROM alias_said AS s WHERE s.type_a = r.type_a AND s.id_a = r.id_a) AS has_a,
        EXISTS (SELECT 1 FROM node AS n WHERE n.id_type = r.type_b AND n.id = r.id_b)
        OR EXISTS (SELECT 1 FROM old_map AS o WHERE o.id_type = r.type_b AND o.id = r.id_b)
        OR EXISTS (SELECT 1 FROM alias_said AS s WHERE s.type_a = r.type_b AND s.id_a = r.id_b) AS has_b
    FROM rule AS r WHERE r.action = 'link'
)
SELECT type_a, id_a, type_b, id_b, added_at FROM there WHERE has_a AND has_b
