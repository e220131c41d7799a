-- name: user_now
-- reads: own, attributed, session_now
-- writes: user_now
-- grain: one row per touched person that lives
WITH ids AS (
    SELECT person_id, min_by(id, {'at': first_seen, 'id': id}) FILTER (WHERE id_type = 'user_id') AS primary_user_id,
        list_sort(list(id) FILTER (WHERE id_type = 'user_id')) AS user_ids,
        list_sort(list(id) FILTER (WHERE id_type = 'anonymous_id')) AS anonymous_ids,
        min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM own GROUP BY person_id
), seen AS (
    SELECT person_id, min(timestamp) AS first_seen, max(timestamp) AS last_seen, count(*) AS events FROM attributed GROUP BY person_id
), visits AS (
    SELECT person_id, count(*) AS sessions FROM session_now GROUP BY person_id
)
SELECT i.person_id, i.primary_user_id, to_json(coalesce(i.user_ids, []))::VARCHAR AS user_ids,
    to_json(coalesce(i.anonymous_ids, []))::VARCHAR AS anonymous_ids,
    coalesce(s.first_seen, i.first_seen) AS first_seen, coalesce(s.last_seen, i.last_seen) AS last_seen,
    coalesce(s.events, 0) AS events, coalesce(v.sessions, 0) AS sessions
FROM ids AS i LEFT JOIN seen AS s ON s.person_id = i.person_id LEFT JOIN visits AS v ON v.person_id = i.person_id
