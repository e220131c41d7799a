-- name: said
-- reads: event, trait_said
-- writes: said
-- grain: one row per (kind, id_a, type_b, id_b) that the new events tie
-- Evidence, before anything is judged: a user id and a device on one event, an alias, a trait that is opted in (R12).
SELECT 'seen' AS kind, user_id AS id_a, 'anonymous_id' AS type_b, anonymous_id AS id_b, count(*) AS events,
    min(timestamp) AS first_seen, max(timestamp) AS last_seen,
    min({'at': timestamp, 'received': received_at, 'id': id}) AS first_event
FROM event WHERE user_id IS NOT NULL AND anonymous_id IS NOT NULL GROUP BY user_id, anonymous_id
UNION ALL
SELECT 'alias', previous_id, 'user_id', user_id, count(*), min(timestamp), max(timestamp),
    min({'at': timestamp, 'received': received_at, 'id': id})
FROM event WHERE call = 'alias' AND user_id IS NOT NULL AND previous_id IS NOT NULL GROUP BY previous_id, user_id
UNION ALL
SELECT trait, user_id, trait, value, count(*), min(timestamp), max(timestamp),
    min({'at': timestamp, 'received': received_at, 'id': id})
FROM trait_said GROUP BY trait, user_id, value
