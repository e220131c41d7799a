-- name: claim
-- reads: part, old_person
-- writes: claim
-- grain: one row per person ever minted whose anchor is in a group
-- R11: a person belongs to the group that holds its anchor.
SELECT p.label, o.person_id, o.minted_at, o.retired_at, {'at': o.minted_at, 'id': o.person_id} AS age
FROM old_person AS o JOIN part AS p ON p.id_type = o.anchor_type AND p.id = o.anchor_id
WHERE p.label IS NOT NULL
