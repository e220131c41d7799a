-- name: vertex
-- reads: member, link
-- writes: vertex
-- grain: one row per id to put together; vertex is its number
WITH every AS (
    SELECT id_type, id FROM member WHERE valid
    UNION SELECT type_a, id_a FROM link
    UNION SELECT type_b, id_b FROM link
)
SELECT row_number() OVER (ORDER BY id_type, id) AS vertex, id_type, id FROM every
