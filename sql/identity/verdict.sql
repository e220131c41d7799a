-- name: verdict
-- reads: node, dirty, rule, rule_changed
-- writes: verdict
-- grain: one row per (id_type, id) that is new, or at an end of an edge to judge; reason is NULL where it is valid
-- R7: ids that are nobody's, since broken or careless code sends them, and those that the operator blocked (R13).
WITH judged AS (
    SELECT id_type, id FROM node WHERE is_new
    UNION SELECT type_a, id_a FROM dirty
    UNION SELECT type_b, id_b FROM dirty
    UNION SELECT type_a, id_a FROM rule_changed
), bare AS (
    SELECT id_type, id, lower(trim(trim(trim(id, '''"`'), ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)))) AS word
    FROM judged
)
SELECT b.id_type, b.id, CASE
    WHEN EXISTS (SELECT 1 FROM rule AS r WHERE r.action = 'block' AND r.type_a = b.id_type AND r.id_a = b.id)
        THEN 'blocked by a rule'
    WHEN length(b.id) > 512 THEN 'over 512 characters'
    WHEN trim(b.id, '0-') = '' THEN 'all zeros or dashes'
    WHEN b.word IN ('', 'null', 'nil', 'none', 'undefined', 'nan', 'true', 'false', 'anonymous', 'anon', 'guest', 'unknown',
        'not_authenticated', 'id', 'user', 'userid', 'user_id', 'distinct_id', 'email', 'test', '[object object]', '0',
        '-1', 'n/a') THEN 'a word that is nobody''s id'
    END AS reason
FROM bare AS b
