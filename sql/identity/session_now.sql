-- name: session_now
-- reads: attributed
-- writes: session_now
-- grain: one row per session of a touched person: its events with no more than 30 minutes between any two
-- Where it began and what brought the person there: the first page, and the first event that names a campaign.
WITH instant AS (
    SELECT person_id, timestamp, count(*) AS events, count(landing) AS pages,
        min_by(landing, {'received': received_at, 'id': id}) FILTER (WHERE landing IS NOT NULL) AS landing,
        min_by(utm, {'received': received_at, 'id': id}) FILTER (WHERE utm IS NOT NULL) AS utm
    FROM attributed GROUP BY person_id, timestamp
), gap AS (
    SELECT *, coalesce(timestamp - lag(timestamp) OVER (PARTITION BY person_id ORDER BY timestamp) > INTERVAL 30 minutes, true) AS begins
    FROM instant
), numbered AS (
    SELECT *, sum(CASE WHEN begins THEN 1 ELSE 0 END) OVER (
        PARTITION BY person_id ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS number
    FROM gap
), session AS (
    SELECT person_id, min(timestamp) AS started_at, max(timestamp) AS ended_at,
        sum(events)::BIGINT AS events, sum(pages)::BIGINT AS pages,
        min_by(landing, timestamp) FILTER (WHERE landing IS NOT NULL) AS landing,
        min_by(utm, timestamp) FILTER (WHERE utm IS NOT NULL) AS utm
    FROM numbered GROUP BY person_id, number
)
SELECT 's_' || substr(sha256(person_id || ':' || strftime(started_at, '%Y-%m-%d %H:%M:%S.%f')), 1, 20) AS session_id, person_id,
    started_at, ended_at, events, pages, landing.url AS landing_page, landing.referrer AS referrer,
    utm.source AS utm_source, utm.medium AS utm_medium, utm.campaign AS utm_campaign, utm.term AS utm_term, utm.content AS utm_content
FROM session
