-- name: pair
-- reads: link, vertex
-- writes: pair
-- grain: one row per two vertices that are one person, a < b
SELECT DISTINCT least(a.vertex, b.vertex) AS a, greatest(a.vertex, b.vertex) AS b
FROM link AS l
JOIN vertex AS a ON a.id_type = l.type_a AND a.id = l.id_a
JOIN vertex AS b ON b.id_type = l.type_b AND b.id = l.id_b
WHERE a.vertex <> b.vertex
