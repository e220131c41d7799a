-- name: mention
-- reads: event
-- writes: mention
-- grain: one row per (id_type, id) that the new events carry
-- How often and when an id was said in the field of its own type; what an alias calls previous_id is not among it (R5).
SELECT 'user_id' AS id_type, user_id AS id, count(*) AS events, min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM event WHERE user_id IS NOT NULL GROUP BY user_id
UNION ALL
SELECT 'anonymous_id', anonymous_id, count(*), min(timestamp), max(timestamp)
FROM event WHERE anonymous_id IS NOT NULL GROUP BY anonymous_id
