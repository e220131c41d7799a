-- name: person_touched
-- reads: map_now, old_map, former, mention, sliced, interval_now, old_interval, event
-- writes: person_touched
-- grain: one row per person that has new events, or whose ids or stretches are others than before
-- Their sessions and traits are made anew from all their events; nobody else's are.
WITH changed AS (
    SELECT m.person_id, f.person_id AS was FROM map_now AS m
    LEFT JOIN former AS f ON f.id_type = m.id_type AND f.id = m.id
    LEFT JOIN mention AS n ON n.id_type = m.id_type AND n.id = m.id
    LEFT JOIN old_map AS o ON o.id_type = m.id_type AND o.id = m.id
    WHERE n.id IS NOT NULL OR o.id IS NULL OR m.person_id IS DISTINCT FROM o.person_id OR m.status <> o.status
), old_stretch AS (
    SELECT o.anonymous_id, o.person_id, o.valid_from, o.valid_to FROM old_interval AS o
    SEMI JOIN sliced AS s ON s.anonymous_id = o.anonymous_id
), stretch AS (
    (SELECT anonymous_id, person_id, valid_from, valid_to FROM interval_now EXCEPT FROM old_stretch)
    UNION ALL
    (FROM old_stretch EXCEPT SELECT anonymous_id, person_id, valid_from, valid_to FROM interval_now)
)
SELECT person_id FROM changed WHERE person_id IS NOT NULL
UNION SELECT was FROM changed WHERE was IS NOT NULL
UNION SELECT person_id FROM stretch
UNION SELECT i.person_id FROM event AS e JOIN interval_now AS i ON i.anonymous_id = e.anonymous_id
    AND (i.valid_from IS NULL OR e.timestamp >= i.valid_from) AND (i.valid_to IS NULL OR e.timestamp < i.valid_to)
