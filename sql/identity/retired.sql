-- name: retired
-- reads: claim, holding, old_person, former, part, near_after, member, device, interval_after, options
-- writes: retired
-- grain: one row per person that ends now; new_id: whose its events are, if anyone's
-- R11: persons that another one's group has swallowed, and those whose anchor is no person's any more: it is shared now, or
-- blocked, or gone.
WITH swallowed AS (
    SELECT c.person_id AS old_id, h.person_id AS new_id FROM claim AS c JOIN holding AS h ON h.label = c.label
    WHERE c.retired_at IS NULL AND c.person_id <> h.person_id
), placed_again AS (
    SELECT id_type, id FROM member UNION SELECT 'anonymous_id', id FROM device
), homeless AS (
    SELECT o.person_id, o.anchor_type, o.anchor_id FROM old_person AS o
    LEFT JOIN placed_again AS p ON p.id_type = o.anchor_type AND p.id = o.anchor_id
    ANTI JOIN claim AS c ON c.person_id = o.person_id
    WHERE o.retired_at IS NULL AND (p.id IS NOT NULL OR (SELECT everything FROM options))
), heir AS (
    SELECT h.person_id, min_by(m.person_id, p.place) AS new_id
    FROM homeless AS h
    JOIN former AS f ON f.person_id = h.person_id
    JOIN part AS p ON p.id_type = f.id_type AND p.id = f.id
    JOIN near_after AS m ON m.id_type = p.id_type AND m.id = p.id
    WHERE m.person_id IS NOT NULL GROUP BY h.person_id
), first_stretch AS (
    SELECT h.person_id, min(i.person_id) AS new_id FROM homeless AS h
    JOIN interval_after AS i ON h.anchor_type = 'anonymous_id' AND i.anonymous_id = h.anchor_id AND i.valid_from IS NULL
    GROUP BY h.person_id
)
SELECT old_id, new_id FROM swallowed
UNION ALL
SELECT h.person_id, coalesce(e.new_id, s.new_id) FROM homeless AS h
LEFT JOIN heir AS e ON e.person_id = h.person_id LEFT JOIN first_stretch AS s ON s.person_id = h.person_id
