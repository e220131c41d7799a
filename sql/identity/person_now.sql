-- name: person_now
-- reads: holding, retired, old_person, map_now, options
-- writes: person_now
-- grain: one row per person that is new or changes
-- A retired id resolves for ever: to the person of its anchor now; where that has none, to whoever took over last.
WITH state AS (
    SELECT h.person_id, h.anchor_type, h.anchor_id, (SELECT run_at FROM options) AS minted_at, NULL::TIMESTAMPTZ AS retired_at,
        h.person_id AS current_person_id
    FROM holding AS h WHERE h.kind IN ('new', 'split')
    UNION ALL
    SELECT o.person_id, o.anchor_type, o.anchor_id, o.minted_at, NULL, o.person_id
    FROM old_person AS o JOIN holding AS h ON h.person_id = o.person_id WHERE h.kind = 'restore'
    UNION ALL
    SELECT o.person_id, o.anchor_type, o.anchor_id, o.minted_at, (SELECT run_at FROM options), coalesce(m.person_id, r.new_id)
    FROM old_person AS o JOIN retired AS r ON r.old_id = o.person_id
    LEFT JOIN map_now AS m ON m.id_type = o.anchor_type AND m.id = o.anchor_id
)
SELECT * FROM state
UNION ALL
SELECT o.person_id, o.anchor_type, o.anchor_id, o.minted_at, o.retired_at,
    CASE WHEN m.person_id IS NOT NULL THEN m.person_id ELSE r.new_id END
FROM old_person AS o
ANTI JOIN state AS s ON s.person_id = o.person_id
LEFT JOIN map_now AS m ON m.id_type = o.anchor_type AND m.id = o.anchor_id
LEFT JOIN retired AS r ON r.old_id = o.current_person_id
WHERE o.retired_at IS NOT NULL AND (
    (m.person_id IS NOT NULL AND m.person_id IS DISTINCT FROM o.current_person_id)
    OR (m.person_id IS NULL AND r.old_id IS NOT NULL))
