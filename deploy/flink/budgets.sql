-- Budgets of the whole fleet, per feature and per model: what `outflow fleet` does, on Flink. Writes the same records to the same kind of topic,
-- so agents with `[[budget]] fleet = true` and the names below need nothing else.
--
-- Names, windows and owners stand here a second time: `budget` is the `name` in outflow.toml, 86400000 is `window = "1d"` in milliseconds, 'usd' is
-- `limit_usd` and 'tokens' `limit_tokens`, and the column that is not '' is what the budget tells owners apart by.
--
-- No watermarks and no windows of Flink: a call is added to the period of its event time however late it comes, and no partition that is idle for
-- a while has its calls dropped. Money is BIGINT, billionths of a dollar: sums of DOUBLE drift.

SET 'table.local-time-zone' = 'UTC';
SET 'table.exec.state.ttl' = '3 d';
SET 'table.exec.mini-batch.enabled' = 'true';
SET 'table.exec.mini-batch.allow-latency' = '1 s';
SET 'table.exec.mini-batch.size' = '5000';
SET 'execution.checkpointing.interval' = '10 s';

CREATE TABLE calls_used (
  schema_version INT, event_name STRING, usage_id STRING, service STRING, feature STRING, requested_model STRING, `model` STRING,
  cost_nano_usd BIGINT, input_tokens BIGINT, output_tokens BIGINT, at_ms BIGINT, seen_at AS PROCTIME(),
  part INT METADATA FROM 'partition' VIRTUAL, written_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL
) WITH (
  'connector' = 'kafka', 'topic' = '${USAGE_TOPIC}', 'properties.bootstrap.servers' = '${BROKERS}', 'properties.group.id' = 'outflow-flink-budgets',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json', 'json.ignore-parse-errors' = 'true'
);

-- A call that was sent twice counts once, for as long as the state is kept.
CREATE TEMPORARY VIEW calls_once AS
SELECT feature, COALESCE(requested_model, `model`) AS `model`, COALESCE(cost_nano_usd, 0) AS cost_nano_usd,
       COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0) AS tokens, at_ms
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY usage_id ORDER BY seen_at ASC) AS sighting FROM calls_used
      WHERE schema_version = 1 AND event_name = 'outflow.usage' AND usage_id IS NOT NULL AND at_ms >= 0)
WHERE sighting = 1;

-- The columns of the key in this order: compaction and agents compare its bytes.
CREATE TABLE budget_totals (
  budget STRING, unit STRING, service STRING, feature STRING, `model` STRING, caller STRING, server STRING, part INT, period_start_ms BIGINT,
  schema_version INT, event_name STRING, period_ms BIGINT, spent BIGINT, calls BIGINT, watermark_ms BIGINT,
  PRIMARY KEY (budget, unit, service, feature, `model`, caller, server, part, period_start_ms) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka', 'topic' = '${STATE_TOPIC}', 'properties.bootstrap.servers' = '${BROKERS}', 'key.format' = 'json', 'value.format' = 'json'
);

-- A budget is a SELECT here: its name, its unit, its owner in the column that tells owners apart, its window, and what a call takes of it.
CREATE TEMPORARY VIEW spent AS
SELECT 'features, whole fleet' AS budget, 'usd' AS unit, '' AS service, feature, '' AS `model`, '' AS caller, '' AS server,
       CAST(86400000 AS BIGINT) AS period_ms, cost_nano_usd AS amount, at_ms
FROM calls_once WHERE feature IS NOT NULL AND CHAR_LENGTH(feature) <= 64
UNION ALL
SELECT 'models, whole fleet', 'usd', '', '', `model`, '', '', CAST(86400000 AS BIGINT), cost_nano_usd, at_ms
FROM calls_once WHERE `model` IS NOT NULL AND CHAR_LENGTH(`model`) <= 64
UNION ALL
SELECT 'tokens of an hour, whole fleet', 'tokens', '', feature, '', '', '', CAST(3600000 AS BIGINT), tokens, at_ms
FROM calls_once WHERE feature IS NOT NULL AND CHAR_LENGTH(feature) <= 64;

CREATE TEMPORARY VIEW spent_in_periods AS
SELECT *, -1 AS part, at_ms - MOD(at_ms, period_ms) AS period_start_ms FROM spent WHERE amount > 0;

-- Grouped by exactly the columns of the key: then an update is one record. Otherwise Flink writes a tombstone before each.
INSERT INTO budget_totals
SELECT budget, unit, service, feature, `model`, caller, server, part, period_start_ms, 1, 'outflow.fleet.total', MAX(period_ms),
       SUM(amount), COUNT(*), MAX(at_ms)
FROM spent_in_periods GROUP BY budget, unit, service, feature, `model`, caller, server, part, period_start_ms;

-- How far the job is. Five records a second that are no calls go through the usage topic, with chance keys, so to all its partitions; of each the
-- job remembers the newest that it has read, and totals hold about everything that was written before the oldest of these: 3 s are taken off, for
-- totals take another way through the job. So a job that fails, is stopped, or does not keep up with one partition leaves totals that grow old,
-- and agents see it. A partition of which calls were read and no beat yet holds all back. Calls themselves say nothing: their time is that of
-- their host's clock. Each of n partitions has a beat every n / 5 s: with hundreds of them let more go, or raise `stale_after` of the agents.
CREATE TABLE beats (beat BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '5', 'fields.beat.kind' = 'random');

CREATE TABLE beats_written (beat STRING, schema_version INT, event_name STRING) WITH (
  'connector' = 'kafka', 'topic' = '${USAGE_TOPIC}', 'properties.bootstrap.servers' = '${BROKERS}', 'key.format' = 'raw', 'key.fields' = 'beat',
  'value.format' = 'json', 'value.fields-include' = 'EXCEPT_KEY', 'sink.parallelism' = '1'
);

INSERT INTO beats_written SELECT CAST(beat AS STRING), 1, 'outflow.beat' FROM beats;

CREATE TABLE budget_progress (
  progress INT, schema_version INT, event_name STRING, part INT, as_of_ms BIGINT, PRIMARY KEY (progress) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka', 'topic' = '${STATE_TOPIC}', 'properties.bootstrap.servers' = '${BROKERS}', 'key.format' = 'json', 'value.format' = 'json',
  'value.fields-include' = 'EXCEPT_KEY'
);

INSERT INTO budget_progress
SELECT progress, 1, 'outflow.fleet.progress', -1, GREATEST(MIN(beat_ms) - 3000, 0)
FROM (SELECT -1 AS progress, part,
             MAX(CASE WHEN event_name = 'outflow.beat' THEN UNIX_TIMESTAMP(CAST(written_at AS STRING)) * 1000 ELSE 0 END) AS beat_ms
      FROM calls_used GROUP BY part)
GROUP BY progress;
