-- name: own
-- reads: person_touched, map_after
-- writes: own
-- grain: one row per id of a touched person
SELECT m.id_type, m.id, m.person_id, m.status, m.first_seen, m.last_seen
FROM map_after AS m SEMI JOIN person_touched AS p ON p.person_id = m.person_id
