-- name: shrink
-- reads: edge, pointer
-- writes: edge_next
-- grain: one row per two roots that an edge still ties, a < b
SELECT DISTINCT least(p.root, q.root) AS a, greatest(p.root, q.root) AS b
FROM edge AS e JOIN pointer AS p ON p.vertex = e.a JOIN pointer AS q ON q.vertex = e.b
WHERE p.root <> q.root
