-- name: link_said
-- reads: rule, node, old_map, alias_said
-- writes: link_said
-- grain: one row per link rule whose two ids both occur
-- R2, R13: the operator's own statement that two ids are one person's. An id that only aliases name, as their previous
-- id, occurs as what those that were judged again say it is.
WITH occurring AS (
    SELECT id_type, id FROM node
    UNION
    SELECT id_type, id FROM old_map WHERE events > 0 OR id NOT IN (SELECT id_a FROM alias_said)
    UNION
    SELECT type_a, id_a FROM alias_said
)
SELECT r.type_a, r.id_a, r.type_b, r.id_b, r.added_at FROM rule AS r
SEMI JOIN occurring AS a ON a.id_type = r.type_a AND a.id = r.id_a
SEMI JOIN occurring AS b ON b.id_type = r.type_b AND b.id = r.id_b
WHERE r.action = 'link'
