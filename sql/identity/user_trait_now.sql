-- name: user_trait_now
-- reads: trait_row
-- writes: user_trait_now
-- grain: one row per (person_id, trait) of a touched person
-- Where each trait came from: the event that last changed it, and what it was before that.
WITH run AS (
    SELECT *, value IS DISTINCT FROM lag(value) OVER (PARTITION BY person_id, trait ORDER BY timestamp, received_at, event_id) AS begins
    FROM trait_row
), set_by AS (
    SELECT person_id, trait, value, timestamp AS set_at, event_id,
        lag(value) OVER (PARTITION BY person_id, trait ORDER BY timestamp, received_at, event_id) AS previous_value,
        row_number() OVER (PARTITION BY person_id, trait ORDER BY timestamp DESC, received_at DESC, event_id DESC) AS back
    FROM run WHERE begins
)
SELECT person_id, trait, value, set_at, event_id, previous_value FROM set_by WHERE back = 1
