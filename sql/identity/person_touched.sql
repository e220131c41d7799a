-- name: person_touched
-- reads: map_out, map_gone, former, sliced, interval_now, old_interval, event, edge_now, rule_changed, map_after, interval_after
-- writes: person_touched
-- grain: one row per person that has new events, or whose ids or stretches are others than before
-- Their sessions and traits are made anew from all their events; nobody else's are.
WITH changed AS (
    SELECT m.person_id, f.person_id AS was FROM map_out AS m
    LEFT JOIN former AS f ON f.id_type = m.id_type AND f.id = m.id
), old_stretch AS (
    SELECT o.anonymous_id, o.person_id, o.valid_from, o.valid_to FROM old_interval AS o
    SEMI JOIN sliced AS s ON s.anonymous_id = o.anonymous_id
), stretch AS (
    (SELECT anonymous_id, person_id, valid_from, valid_to FROM interval_now EXCEPT FROM old_stretch)
    UNION ALL
    (FROM old_stretch EXCEPT SELECT anonymous_id, person_id, valid_from, valid_to FROM interval_now)
), handed_over AS (
    -- Where a user id is blocked, or no longer so, its events are its devices' or its own.
    SELECT DISTINCT e.id_b AS id FROM edge_now AS e SEMI JOIN rule_changed AS r ON r.type_a = e.type_a AND r.id_a = e.id_a
    WHERE e.kind = 'seen'
)
SELECT person_id FROM changed WHERE person_id IS NOT NULL
UNION SELECT was FROM changed WHERE was IS NOT NULL
UNION SELECT f.person_id FROM former AS f SEMI JOIN map_gone AS g ON g.id_type = f.id_type AND g.id = f.id
WHERE f.person_id IS NOT NULL
UNION SELECT person_id FROM stretch
UNION SELECT i.person_id FROM event AS e JOIN interval_now AS i ON i.anonymous_id = e.anonymous_id
    AND (i.valid_from IS NULL OR e.timestamp >= i.valid_from) AND (i.valid_to IS NULL OR e.timestamp < i.valid_to)
UNION SELECT m.person_id FROM map_after AS m SEMI JOIN handed_over AS h ON m.id_type = 'anonymous_id' AND m.id = h.id
WHERE m.person_id IS NOT NULL
UNION SELECT i.person_id FROM interval_after AS i SEMI JOIN handed_over AS h ON i.anonymous_id = h.id
