-- name: map_out
-- reads: map_now, old_map
-- writes: map_out
-- grain: one row per id that is new or changes
SELECT id_type, id, person_id, status, first_seen, last_seen, events, example_event_id, own_first, own_last, partners FROM map_now
EXCEPT
SELECT id_type, id, person_id, status, first_seen, last_seen, events, example_event_id, own_first, own_last, partners FROM old_map
