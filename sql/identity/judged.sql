-- name: judged
-- reads: dirty, verdict, rule
-- writes: judged
-- grain: one row per edge of dirty
-- The two judgements that need no other edge: an end that is nobody's (R7), a pair that the operator unlinked (R13).
SELECT d.*, CASE
        WHEN a.reason IS NOT NULL OR b.reason IS NOT NULL THEN 'blocked'
        WHEN EXISTS (SELECT 1 FROM rule AS r WHERE r.action = 'unlink' AND (
            (r.type_a = d.type_a AND r.id_a = d.id_a AND r.type_b = d.type_b AND r.id_b = d.id_b)
            OR (r.type_a = d.type_b AND r.id_a = d.id_b AND r.type_b = d.type_a AND r.id_b = d.id_a))) THEN 'unlinked'
    END AS status,
    CASE WHEN a.reason IS NOT NULL THEN d.type_a || ' ' || d.id_a || ': ' || a.reason
        WHEN b.reason IS NOT NULL THEN d.type_b || ' ' || d.id_b || ': ' || b.reason END AS reason
FROM dirty AS d
LEFT JOIN verdict AS a ON a.id_type = d.type_a AND a.id = d.id_a
LEFT JOIN verdict AS b ON b.id_type = d.type_b AND b.id = d.id_b
