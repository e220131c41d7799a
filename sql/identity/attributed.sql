-- name: attributed
-- reads: history, own, map_after, interval_after, person_touched
-- writes: attributed
-- grain: one row per event of a touched person
-- R1: a valid user id decides; R3, R4: else the device, by time if it is shared. One look at all events, not two.
WITH nobody AS (
    SELECT id FROM map_after WHERE id_type = 'user_id' AND status = 'blocked'
), whose AS (
    SELECT id AS anonymous_id, person_id, NULL::TIMESTAMPTZ AS valid_from, NULL::TIMESTAMPTZ AS valid_to
    FROM own WHERE id_type = 'anonymous_id'
    UNION ALL
    SELECT i.anonymous_id, i.person_id, i.valid_from, i.valid_to
    FROM interval_after AS i SEMI JOIN person_touched AS p ON p.person_id = i.person_id
)
SELECT coalesce(o.person_id, w.person_id) AS person_id, h.call, h.id, h.timestamp, h.received_at, h.landing, h.utm
FROM history AS h
LEFT JOIN own AS o ON o.id_type = 'user_id' AND o.id = h.user_id
LEFT JOIN whose AS w ON w.anonymous_id = h.anonymous_id
    AND (w.valid_from IS NULL OR h.timestamp >= w.valid_from) AND (w.valid_to IS NULL OR h.timestamp < w.valid_to)
WHERE o.person_id IS NOT NULL
    OR (w.person_id IS NOT NULL AND (h.user_id IS NULL OR h.user_id IN (SELECT id FROM nobody)))
