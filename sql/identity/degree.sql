-- name: degree
-- reads: judged, gone_edge, old_edge
-- writes: degree
-- grain: one row per user id at an end of an alias that is new, judged anew or gone
-- R8: with how many other user ids aliases tie it that are neither blocked nor unlinked.
WITH at_end AS (
    SELECT id_a AS id FROM judged WHERE kind = 'alias' AND type_a = 'user_id'
    UNION SELECT id_b FROM judged WHERE kind = 'alias'
    UNION SELECT id_a FROM gone_edge WHERE kind = 'alias' AND type_a = 'user_id'
    UNION SELECT id_b FROM gone_edge WHERE kind = 'alias'
), tie AS (
    SELECT id_a, id_b FROM judged WHERE kind = 'alias' AND type_a = 'user_id' AND status IS NULL
    UNION ALL
    SELECT o.id_a, o.id_b FROM old_edge AS o
    WHERE o.kind = 'alias' AND o.type_a = 'user_id' AND o.status NOT IN ('blocked', 'unlinked')
        AND NOT EXISTS (SELECT 1 FROM judged AS j WHERE j.kind = 'alias' AND j.id_a = o.id_a AND j.id_b = o.id_b)
        AND NOT EXISTS (SELECT 1 FROM gone_edge AS g WHERE g.kind = 'alias' AND g.type_a = 'user_id' AND g.id_a = o.id_a AND g.id_b = o.id_b)
        AND (o.id_a IN (SELECT id FROM at_end) OR o.id_b IN (SELECT id FROM at_end))
), both_ways AS (
    SELECT id_a AS id, id_b AS partner FROM tie UNION SELECT id_b, id_a FROM tie
)
SELECT e.id, count(b.partner) AS partners FROM at_end AS e LEFT JOIN both_ways AS b ON b.id = e.id GROUP BY e.id
