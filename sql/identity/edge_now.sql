-- name: edge_now
-- reads: judged, degree, trait_degree, old_edge, old_map, gone_edge, options
-- writes: edge_now
-- grain: one row per edge that is judged
-- R8: the aliases of a hub are set aside. A user id that becomes a hub, or ceases to be one, takes its other aliases with
-- it. The reason names the limit and not today's number, which changes while the rest of its aliases are not looked at.
-- live: counts for who is who; was_live: did so before.
WITH flipped AS (
    SELECT d.id FROM degree AS d LEFT JOIN old_map AS o ON o.id_type = 'user_id' AND o.id = d.id
    WHERE (d.partners > (SELECT max_alias_partners FROM options))
        <> (coalesce(o.partners, 0) > (SELECT max_alias_partners FROM options))
), again AS (
    SELECT o.* FROM old_edge AS o
    ANTI JOIN judged AS j ON j.kind = o.kind AND j.type_a = o.type_a AND j.id_a = o.id_a AND j.type_b = o.type_b AND j.id_b = o.id_b
    ANTI JOIN gone_edge AS g ON g.kind = o.kind AND g.type_a = o.type_a AND g.id_a = o.id_a AND g.type_b = o.type_b AND g.id_b = o.id_b
    WHERE o.status NOT IN ('blocked', 'unlinked') AND (
        (o.kind = 'alias' AND o.type_a = 'user_id' AND (o.id_a IN (SELECT id FROM flipped) OR o.id_b IN (SELECT id FROM flipped)))
        OR (o.kind NOT IN ('seen', 'alias', 'link') AND (o.status = 'capped'
            OR EXISTS (SELECT 1 FROM trait_degree AS t WHERE t.kind = o.kind AND t.id_type = o.kind AND t.id = o.id_b
                AND t.partners > (SELECT max_alias_partners FROM options))
            OR EXISTS (SELECT 1 FROM trait_degree AS t WHERE t.kind = o.kind AND t.id_type = 'user_id' AND t.id = o.id_a
                AND t.partners > (SELECT max_alias_partners FROM options)))))
), every AS (
    SELECT kind, type_a, id_a, type_b, id_b, events, first_seen, last_seen, first_event, status, reason FROM judged
    UNION ALL
    SELECT kind, type_a, id_a, type_b, id_b, events, first_seen, last_seen, first_event, NULL, NULL FROM again
), hub AS (
    SELECT id FROM degree WHERE partners > (SELECT max_alias_partners FROM options)
    UNION ALL
    SELECT o.id FROM old_map AS o ANTI JOIN degree AS d ON d.id = o.id
    WHERE o.id_type = 'user_id' AND o.partners > (SELECT max_alias_partners FROM options)
), trait_hub AS (
    SELECT kind, id_type, id FROM trait_degree WHERE partners > (SELECT max_alias_partners FROM options)
), capped AS (
    SELECT e.*, CASE
            WHEN e.status IS NOT NULL OR e.kind IN ('seen', 'link') THEN NULL
            WHEN e.kind = 'alias' AND e.type_a <> 'user_id' THEN NULL
            WHEN a.id IS NOT NULL THEN 'user_id ' || e.id_a || ' has aliases with more than ' || m.most || ' user ids'
            WHEN b.id IS NOT NULL THEN 'user_id ' || e.id_b || ' has aliases with more than ' || m.most || ' user ids'
            WHEN u.id IS NOT NULL THEN 'user_id ' || e.id_a || ' has more than ' || m.most || ' values of ' || e.kind
            WHEN v.id IS NOT NULL THEN e.kind || ' ' || e.id_b || ' is that of more than ' || m.most || ' user ids'
        END AS cap
    FROM every AS e
    CROSS JOIN (SELECT max_alias_partners AS most FROM options) AS m
    LEFT JOIN hub AS a ON e.kind = 'alias' AND a.id = e.id_a
    LEFT JOIN hub AS b ON e.kind = 'alias' AND b.id = e.id_b
    LEFT JOIN trait_hub AS u ON u.kind = e.kind AND u.id_type = 'user_id' AND u.id = e.id_a
    LEFT JOIN trait_hub AS v ON v.kind = e.kind AND v.id_type = e.kind AND v.id = e.id_b
)
SELECT c.kind, c.type_a, c.id_a, c.type_b, c.id_b, c.events, c.first_seen, c.last_seen, c.first_event,
    coalesce(c.status, CASE WHEN c.cap IS NOT NULL THEN 'capped' END) AS status, coalesce(c.reason, c.cap) AS reason,
    c.status IS NULL AND c.cap IS NULL AS live, coalesce(o.status IN ('used', 'shared'), false) AS was_live
FROM capped AS c LEFT JOIN old_edge AS o
    ON o.kind = c.kind AND o.type_a = c.type_a AND o.id_a = c.id_a AND o.type_b = c.type_b AND o.id_b = c.id_b
