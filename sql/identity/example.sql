-- name: example
-- reads: known, part, old_map, newly_blocked, event, history
-- writes: example
-- grain: one row per id that is nobody's, of those that are placed or said again: one of its events
-- The smallest event id, so that the order of arrival does not matter. Old events are looked at only for an id that was
-- somebody's before.
WITH blocked AS MATERIALIZED (
    SELECT k.id_type, k.id, o.example_event_id FROM known AS k
    LEFT JOIN part AS p ON p.id_type = k.id_type AND p.id = k.id
    LEFT JOIN old_map AS o ON o.id_type = k.id_type AND o.id = k.id
    WHERE coalesce(p.status, o.status) = 'blocked'
), carried AS (
    SELECT b.id_type, b.id, min(e.id) AS event_id FROM event AS e
    JOIN blocked AS b ON b.id_type = 'user_id' AND b.id = e.user_id GROUP BY b.id_type, b.id
    UNION ALL
    SELECT b.id_type, b.id, min(e.id) FROM event AS e
    JOIN blocked AS b ON b.id_type = 'anonymous_id' AND b.id = e.anonymous_id GROUP BY b.id_type, b.id
    UNION ALL
    SELECT n.id_type, n.id, min(h.id) FROM history AS h
    JOIN newly_blocked AS n ON n.id_type = 'user_id' AND n.id = h.user_id GROUP BY n.id_type, n.id
    UNION ALL
    SELECT n.id_type, n.id, min(h.id) FROM history AS h
    JOIN newly_blocked AS n ON n.id_type = 'anonymous_id' AND n.id = h.anonymous_id GROUP BY n.id_type, n.id
)
SELECT b.id_type, b.id, least(min(b.example_event_id), min(c.event_id)) AS event_id
FROM blocked AS b LEFT JOIN carried AS c ON c.id_type = b.id_type AND c.id = b.id GROUP BY b.id_type, b.id
