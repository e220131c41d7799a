-- name: device_event
-- reads: sliced, history
-- writes: device_event
-- grain: one row per event on a shared device that says who uses it: one with a user id, or a reset
SELECT h.anonymous_id, h.user_id, h.call = 'reset' AS reset, h.timestamp, h.received_at, h.id
FROM history AS h SEMI JOIN (SELECT anonymous_id FROM sliced WHERE shared) AS s ON s.anonymous_id = h.anonymous_id
WHERE h.user_id IS NOT NULL OR h.call = 'reset'
