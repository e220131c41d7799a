-- name: conflicts
-- reads: identity.edges, identity.map
-- writes: identity.conflicts (view)
-- grain: one row per finding that an operator may want to look at
-- Devices of several persons (R3), hubs (R8), persons of more than 50 user ids, ids that are nobody's (R7), and aliases that
-- go round in a circle: the search for those follows 50 aliases at most, in persons of up to 1,000 user ids that have as
-- many ties as ids (a person has to, for a circle).
WITH RECURSIVE tied AS (
    SELECT kind, status, reason, type_a AS id_type, id_a AS id, type_b AS other_type, id_b AS other, events, first_event_id FROM identity.edges
    UNION ALL
    SELECT kind, status, reason, type_b, id_b, type_a, id_a, events, first_event_id FROM identity.edges
), shared AS (
    SELECT 'shared_device' AS kind, d.id_type, d.id, count(DISTINCT u.person_id) AS persons, any_value(d.events) AS events,
        list(DISTINCT t.first_event_id) AS example_event_ids
    FROM identity.map AS d JOIN tied AS t ON t.status = 'shared' AND t.id_type = d.id_type AND t.id = d.id
    JOIN identity.map AS u ON u.id_type = t.other_type AND u.id = t.other
    WHERE d.status = 'shared' GROUP BY d.id_type, d.id
), hub AS (
    SELECT 'hub' AS kind, t.id_type, t.id, count(DISTINCT coalesce(u.person_id, t.other)) AS persons, sum(t.events)::BIGINT AS events,
        list(DISTINCT t.first_event_id) AS example_event_ids
    FROM tied AS t LEFT JOIN identity.map AS u ON u.id_type = t.other_type AND u.id = t.other
    WHERE t.status = 'capped' AND starts_with(t.reason, t.id_type || ' ' || t.id || ' ') GROUP BY t.id_type, t.id
), large AS (
    SELECT person_id, sum(events)::BIGINT AS events
    FROM identity.map WHERE person_id IS NOT NULL GROUP BY person_id HAVING count(*) FILTER (WHERE id_type = 'user_id') > 50
), oversize AS (
    SELECT 'oversize' AS kind, 'person_id' AS id_type, l.person_id AS id, 1::BIGINT AS persons, any_value(l.events) AS events,
        list(DISTINCT e.first_event_id) FILTER (WHERE e.first_event_id IS NOT NULL) AS example_event_ids
    FROM large AS l JOIN identity.map AS m ON m.person_id = l.person_id AND m.id_type = 'user_id'
    LEFT JOIN identity.edges AS e ON e.kind <> 'seen' AND e.status = 'used' AND e.type_a = 'user_id' AND e.id_a = m.id
    GROUP BY l.person_id
), nobody AS (
    SELECT id_type, id, events, example_event_id FROM identity.map WHERE status = 'blocked'
), example AS (
    SELECT id_type, id, example_event_id AS event_id FROM nobody
    UNION
    SELECT id_type, id, first_event_id FROM tied WHERE status = 'blocked'
), blocked AS (
    SELECT 'blocked_seen' AS kind, n.id_type, n.id, 0::BIGINT AS persons, any_value(n.events) AS events,
        list(DISTINCT e.event_id) FILTER (WHERE e.event_id IS NOT NULL) AS example_event_ids
    FROM nobody AS n JOIN example AS e ON e.id_type = n.id_type AND e.id = n.id GROUP BY n.id_type, n.id
), alias AS (
    SELECT m.person_id, e.id_a, e.id_b, e.first_event_id, e.events
    FROM identity.edges AS e JOIN identity.map AS m ON m.id_type = 'user_id' AND m.id = e.id_b
    WHERE e.kind IN ('alias', 'link') AND e.status = 'used' AND e.type_a = 'user_id' AND e.type_b = 'user_id'
), dense AS (
    SELECT a.person_id FROM (SELECT person_id, count(*) AS ties FROM alias GROUP BY person_id) AS a
    JOIN (SELECT person_id, count(*) AS ids FROM identity.map WHERE id_type = 'user_id' GROUP BY person_id) AS m
        ON m.person_id = a.person_id
    WHERE a.ties >= m.ids AND m.ids <= 1000
), walk AS (
    SELECT a.person_id, a.id_a AS start, a.id_b AS reached, 1 AS steps FROM alias AS a SEMI JOIN dense AS d ON d.person_id = a.person_id
    UNION
    SELECT w.person_id, w.start, a.id_b, w.steps + 1 FROM walk AS w JOIN alias AS a ON a.id_a = w.reached AND a.person_id = w.person_id
    WHERE w.steps < 50 AND w.reached <> w.start
), cycle AS (
    SELECT 'alias_cycle' AS kind, 'user_id' AS id_type, w.start AS id, 1::BIGINT AS persons, sum(DISTINCT a.events)::BIGINT AS events,
        list(DISTINCT a.first_event_id) AS example_event_ids
    FROM walk AS w JOIN alias AS a ON a.id_a = w.start WHERE w.reached = w.start GROUP BY w.start
), found AS (
    FROM shared UNION ALL FROM hub UNION ALL FROM oversize UNION ALL FROM blocked UNION ALL FROM cycle
)
SELECT kind, id_type, id, persons, events, list_sort(example_event_ids)[1:5] AS example_event_ids FROM found
