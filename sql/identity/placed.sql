-- name: placed
-- reads: member, grouped, device, attachment
-- writes: placed
-- grain: one row per id that is put anew: its status, and its group (label), or the untouched person it joins (person_id)
SELECT m.id_type, m.id,
    CASE WHEN NOT m.valid THEN 'blocked' WHEN m.id_type = 'user_id' THEN 'user'
        WHEN g.label IN (SELECT label FROM grouped WHERE id_type = 'user_id') THEN 'attached' ELSE 'anonymous' END AS status,
    g.label, NULL::VARCHAR AS person_id
FROM member AS m LEFT JOIN grouped AS g ON g.id_type = m.id_type AND g.id = m.id
UNION ALL
SELECT 'anonymous_id', d.id,
    CASE WHEN NOT d.valid THEN 'blocked' WHEN a.persons = 0 THEN 'anonymous' WHEN a.persons = 1 THEN 'attached' ELSE 'shared' END,
    CASE WHEN a.persons = 0 THEN 'device ' || d.id WHEN a.persons = 1 THEN a.label END,
    CASE WHEN a.persons = 1 THEN a.person_id END
FROM device AS d LEFT JOIN attachment AS a ON a.id = d.id
