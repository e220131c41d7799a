-- name: point
-- reads: edge
-- writes: pointer
-- grain: one row per vertex that has an edge left: its smallest neighbour, or itself
-- Where two point at each other the smaller one points at itself. No longer circle is possible: every second step of a walk
-- along the pointers goes down.
WITH nearest AS (
    SELECT vertex, min(neighbour) AS root
    FROM (SELECT a AS vertex, b AS neighbour FROM edge UNION ALL SELECT b, a FROM edge) AS both_ways GROUP BY vertex
)
SELECT n.vertex, CASE WHEN m.root = n.vertex AND n.vertex < n.root THEN n.vertex ELSE n.root END AS root
FROM nearest AS n JOIN nearest AS m ON m.vertex = n.root
