-- name: grouped
-- reads: vertex, component
-- writes: grouped
-- grain: one row per member that is valid; label names its group
SELECT v.id_type, v.id, 'group ' || c.root AS label
FROM vertex AS v JOIN component AS c ON c.vertex = v.vertex
WHERE v.id_type IN ('user_id', 'anonymous_id')
