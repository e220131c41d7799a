-- name: near_own
-- reads: near, every_map
-- writes: near_own
-- grain: one row per id of the persons near by, and per id of near
SELECT id FROM near
UNION
SELECT m.id FROM every_map AS m SEMI JOIN (
    SELECT p.person_id FROM every_map AS p SEMI JOIN near AS n ON n.id = p.id WHERE p.person_id IS NOT NULL
) AS q ON q.person_id = m.person_id
