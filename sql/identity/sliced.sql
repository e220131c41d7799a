-- name: sliced
-- reads: map_now, old_map, options
-- writes: sliced
-- grain: one row per device whose stretches are made anew; shared: it has any
-- R4: those that are shared, or were, and that something was said of.
SELECT m.id AS anonymous_id, m.status = 'shared' AND (SELECT shared_by_time FROM options) AS shared
FROM map_now AS m LEFT JOIN old_map AS o ON o.id_type = m.id_type AND o.id = m.id
WHERE m.id_type = 'anonymous_id' AND (m.status = 'shared' OR o.status = 'shared')
