-- name: follow
-- reads: component, pointer
-- writes: component_next
-- grain: one row per vertex: the root it has come to
SELECT c.vertex, coalesce(p.root, c.root) AS root FROM component AS c LEFT JOIN pointer AS p ON p.vertex = c.root
