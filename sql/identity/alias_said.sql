-- name: alias_said
-- reads: said, node, old_edge, old_map
-- writes: alias_said
-- grain: one row per (type_a, id_a, id_b): an alias from a previous id to a user id
-- What kind of id the previous one is (R5): a device if events have it as their device and none as their user. That can
-- change when an id is met for the first time, so the old aliases of such ids are judged again.
WITH again AS (
    SELECT id_a AS id FROM said WHERE kind = 'alias' UNION SELECT id FROM node WHERE is_new
), every AS (
    SELECT id_a, id_b, events, first_seen, last_seen, first_event FROM said WHERE kind = 'alias'
    UNION ALL
    SELECT id_a, id_b, events, first_seen, last_seen, first_event
    FROM old_edge WHERE kind = 'alias' AND id_a IN (SELECT id FROM again)
), one AS (
    SELECT id_a, id_b, sum(events)::BIGINT AS events, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
        min(first_event) AS first_event
    FROM every GROUP BY id_a, id_b
), met AS (
    SELECT id_type, id FROM node WHERE id IN (SELECT id_a FROM one)
    UNION
    SELECT id_type, id FROM old_map WHERE events > 0 AND id IN (SELECT id_a FROM one)
)
SELECT CASE WHEN id_a IN (SELECT id FROM met WHERE id_type = 'anonymous_id')
        AND id_a NOT IN (SELECT id FROM met WHERE id_type = 'user_id')
    THEN 'anonymous_id' ELSE 'user_id' END AS type_a, one.*
FROM one
