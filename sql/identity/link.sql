-- name: link
-- reads: live_edge, member, options
-- writes: link
-- grain: one row per edge that makes two ids one person (R2, R12; with devices = merge also R3's)
SELECT l.type_a, l.id_a, l.type_b, l.id_b FROM live_edge AS l
SEMI JOIN member AS m ON m.valid AND m.id_type = l.type_a AND m.id = l.id_a
WHERE (SELECT merge_devices FROM options) OR (l.type_a <> 'anonymous_id' AND l.type_b <> 'anonymous_id')
