-- name: holding
-- reads: part, claim, former
-- writes: holding
-- grain: one row per group: its person, and how it came by it
-- R10, R11: a group keeps the earliest-minted of the living persons that claim it, else gets back one that it once had, else
-- mints: an id made of its earliest identifier, user ids before devices.
WITH claimed AS (
    SELECT label, min(age) FILTER (WHERE retired_at IS NULL) AS kept, min(age) FILTER (WHERE retired_at IS NOT NULL) AS back
    FROM claim GROUP BY label
), grp AS (
    SELECT p.label, min(p.place) AS anchor, min_by(f.person_id, p.place) FILTER (WHERE f.person_id IS NOT NULL) AS came_from
    FROM part AS p LEFT JOIN former AS f ON f.id_type = p.id_type AND f.id = p.id
    WHERE p.label IS NOT NULL GROUP BY p.label
)
SELECT g.label, CASE WHEN g.anchor.device THEN 'anonymous_id' ELSE 'user_id' END AS anchor_type, g.anchor.id AS anchor_id,
    coalesce(c.kept.id, c.back.id,
        'p_' || substr(sha256((CASE WHEN g.anchor.device THEN 'anonymous_id:' ELSE 'user_id:' END) || g.anchor.id), 1, 20)) AS person_id,
    CASE WHEN c.kept IS NOT NULL THEN 'kept' WHEN c.back IS NOT NULL THEN 'restore' WHEN g.came_from IS NOT NULL THEN 'split' ELSE 'new' END AS kind,
    g.came_from
FROM grp AS g LEFT JOIN claimed AS c ON c.label = g.label
