-- name: interval_after
-- reads: interval_now, sliced, old_interval
-- writes: interval_after (view)
-- grain: one row per stretch of a shared device, of all there are
SELECT anonymous_id, person_id, valid_from, valid_to FROM interval_now
UNION ALL
SELECT o.anonymous_id, o.person_id, o.valid_from, o.valid_to FROM old_interval AS o
ANTI JOIN sliced AS s ON s.anonymous_id = o.anonymous_id
