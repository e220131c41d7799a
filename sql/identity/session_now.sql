-- name: session_now
-- reads: attributed
-- writes: session_now
-- grain: one row per session of a touched person: its events with no more than 30 minutes between any two
-- Where it began and what brought the person there: the first page, and the first event that names a campaign.
WITH gap AS (
    SELECT person_id, timestamp, {'at': timestamp, 'received': received_at, 'id': id} AS place, landing, utm,
        coalesce(timestamp - lag(timestamp) OVER (PARTITION BY person_id ORDER BY timestamp) > INTERVAL 30 minutes, true) AS begins
    FROM attributed
), numbered AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY person_id ORDER BY timestamp) AS number
    FROM gap
), session AS (
    SELECT person_id, min(timestamp) AS started_at, max(timestamp) AS ended_at, count(*) AS events,
        count(landing) AS pages,
        min_by(landing, place) FILTER (WHERE landing IS NOT NULL) AS landing,
        min_by(utm, place) FILTER (WHERE utm IS NOT NULL) AS utm
    FROM numbered GROUP BY person_id, number
)
SELECT 's_' || substr(sha256(person_id || ':' || strftime(started_at, '%Y-%m-%d %H:%M:%S.%f')), 1, 20) AS session_id, person_id,
    started_at, ended_at, events, pages, landing.url AS landing_page, landing.referrer AS referrer,
    utm.source AS utm_source, utm.medium AS utm_medium, utm.campaign AS utm_campaign, utm.term AS utm_term, utm.content AS utm_content
FROM session
