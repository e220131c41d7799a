-- name: near
-- reads: mention, said, rule, rule_changed, every_edge
-- writes: near
-- grain: one row per id that something new says something of, or an alias, a link or a trait away from such, or two
-- Where to look at all: the models after this see only the old rows around these ids, so that a night costs what is new. Two
-- steps, since an alias can make a hub of the id at its end, which sets the aliases of that aside. A rule says something of
-- all that its ids are tied to. Types don't matter here: an id may change its type (R5).
WITH said_of AS (
    SELECT id FROM mention
    UNION SELECT id_a FROM said
    UNION SELECT id_b FROM said
    UNION SELECT id_a FROM rule
    UNION SELECT id_b FROM rule WHERE id_b IS NOT NULL
    UNION SELECT id_a FROM rule_changed
    UNION SELECT e.id_b FROM every_edge AS e SEMI JOIN rule_changed AS r ON r.id_a = e.id_a
    UNION SELECT e.id_a FROM every_edge AS e SEMI JOIN rule_changed AS r ON r.id_a = e.id_b
), tie AS MATERIALIZED (
    SELECT id_a, id_b FROM every_edge WHERE kind <> 'seen'
), one_step AS (
    SELECT id FROM said_of
    UNION SELECT t.id_b FROM tie AS t SEMI JOIN said_of AS s ON s.id = t.id_a
    UNION SELECT t.id_a FROM tie AS t SEMI JOIN said_of AS s ON s.id = t.id_b
)
SELECT id FROM one_step
UNION SELECT t.id_b FROM tie AS t SEMI JOIN one_step AS s ON s.id = t.id_a
UNION SELECT t.id_a FROM tie AS t SEMI JOIN one_step AS s ON s.id = t.id_b
