-- name: trait_degree
-- reads: judged, every_edge
-- writes: trait_degree
-- grain: one row per end of a trait's edges (kind, id_type, id)
-- R8 for traits that are opted in (R12): user ids by value, and values by user id. Counted in full: it costs what there is
-- of such edges, and there are none without the option.
WITH tie AS (
    SELECT kind, id_a, id_b FROM judged WHERE kind NOT IN ('seen', 'alias', 'link') AND status IS NULL
    UNION
    SELECT o.kind, o.id_a, o.id_b FROM every_edge AS o ANTI JOIN judged AS j
        ON j.kind = o.kind AND j.id_a = o.id_a AND j.id_b = o.id_b
    WHERE o.kind NOT IN ('seen', 'alias', 'link') AND o.status NOT IN ('blocked', 'unlinked')
)
SELECT kind, kind AS id_type, id_b AS id, count(*) AS partners FROM tie GROUP BY kind, id_b
UNION ALL
SELECT kind, 'user_id', id_a, count(*) FROM tie GROUP BY kind, id_a
