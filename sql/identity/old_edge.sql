-- name: old_edge
-- reads: near_own, every_edge
-- writes: old_edge
-- grain: one row per edge of before with an end near by, and per tie of a device that such an edge leads to
WITH incident AS (
    SELECT e.* FROM every_edge AS e WHERE e.id_a IN (SELECT id FROM near_own) OR e.id_b IN (SELECT id FROM near_own)
), device AS (
    SELECT id_b AS id FROM incident WHERE type_b = 'anonymous_id' UNION SELECT id_a FROM incident WHERE type_a = 'anonymous_id'
), beyond AS (
    SELECT id FROM device ANTI JOIN near_own USING (id)
)
SELECT * FROM incident
UNION
SELECT e.* FROM every_edge AS e WHERE e.id_a IN (SELECT id FROM beyond) OR e.id_b IN (SELECT id FROM beyond)
