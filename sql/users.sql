-- name: users
-- reads: identifies
-- writes: users
-- grain: one row per user_id that was ever identified
-- Each column's latest value that is not null, by received_at: a trait that an identify leaves out is not erased.
SELECT
    user_id AS id,
    max_by(COLUMNS(* EXCLUDE (id, user_id, received_at, loader_file_id, loader_line, loader_element)),
        {'at': received_at, 'file': loader_file_id, 'line': loader_line, 'element': coalesce(loader_element, 0)}),
    max(received_at) AS received_at
FROM identifies
WHERE user_id IS NOT NULL
GROUP BY user_id
