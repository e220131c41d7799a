-- name: part
-- reads: placed, known
-- writes: part
-- grain: one row per id that is placed and still said by something
SELECT p.id_type, p.id, p.status, p.label, p.person_id, k.events, k.own_first, k.own_last, k.first_seen, k.last_seen, k.partners,
    {'device': p.id_type = 'anonymous_id', 'at': k.first_seen, 'id': p.id} AS place
FROM placed AS p JOIN known AS k ON k.id_type = p.id_type AND k.id = p.id
