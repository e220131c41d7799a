-- name: node
-- reads: mention, old_map
-- writes: node
-- grain: one row per (id_type, id) that the new events carry
-- Old and new mentions together. is_new: no event carried it in this field before.
SELECT m.id_type, m.id, m.events + coalesce(o.events, 0) AS events, least(m.first_seen, o.own_first) AS own_first,
    greatest(m.last_seen, o.own_last) AS own_last, coalesce(o.events, 0) = 0 AS is_new
FROM mention AS m LEFT JOIN old_map AS o ON o.id_type = m.id_type AND o.id = m.id
