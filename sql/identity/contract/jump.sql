-- name: jump
-- reads: pointer
-- writes: pointer_next
-- grain: one row per vertex of pointer, pointing where its target points
SELECT p.vertex, q.root, p.root <> q.root AS moved FROM pointer AS p JOIN pointer AS q ON q.vertex = p.root
