-- name: touched
-- reads: edge_now, gone_edge, node, rule_changed
-- writes: touched
-- grain: one row per (id_type, id) whose person may be another now; also values of opted-in traits
SELECT type_a AS id_type, id_a AS id FROM edge_now WHERE live <> was_live
UNION SELECT type_b, id_b FROM edge_now WHERE live <> was_live
UNION SELECT type_a, id_a FROM edge_now WHERE kind = 'alias'
UNION SELECT type_a, id_a FROM gone_edge
UNION SELECT type_b, id_b FROM gone_edge
UNION SELECT id_type, id FROM node WHERE is_new
UNION SELECT type_a, id_a FROM rule_changed
