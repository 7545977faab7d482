-- Silent updates as they roll out: for each model name that calls ask for, which models answered, on how many hosts, since when. A name with a
-- second row was updated without a word; `hosts` of the new row rising towards that of the old one is how far it is.

SET 'table.exec.state.ttl' = '30 d';
SET 'table.exec.mini-batch.enabled' = 'true';
SET 'table.exec.mini-batch.allow-latency' = '1 s';
SET 'table.exec.mini-batch.size' = '5000';
SET 'execution.checkpointing.interval' = '10 s';

CREATE TABLE calls_used (
  schema_version INT, event_name STRING, usage_id STRING, host STRING, host_id STRING, vendor STRING, server STRING, requested_model STRING, `model` STRING,
  is_error BOOLEAN, at_ms BIGINT, seen_at AS PROCTIME()
) WITH (
  'connector' = 'kafka', 'topic' = '${USAGE_TOPIC}', 'properties.bootstrap.servers' = '${BROKERS}', 'properties.group.id' = 'outflow-flink-rollouts',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json', 'json.ignore-parse-errors' = 'true'
);

CREATE TABLE rollouts (
  server STRING, requested_model STRING, answered_model STRING, hosts BIGINT, calls BIGINT, first_seen_ms BIGINT, last_seen_ms BIGINT,
  PRIMARY KEY (server, requested_model, answered_model) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka', 'topic' = '${ROLLOUTS_TOPIC}', 'properties.bootstrap.servers' = '${BROKERS}', 'key.format' = 'json', 'value.format' = 'json'
);

INSERT INTO rollouts
SELECT server, requested_model, `model`, COUNT(DISTINCT COALESCE(host_id, host)), COUNT(DISTINCT usage_id), MIN(at_ms), MAX(at_ms)
FROM calls_used
WHERE schema_version = 1 AND event_name = 'outflow.usage' AND NOT is_error
  AND server IS NOT NULL AND requested_model IS NOT NULL AND `model` IS NOT NULL
GROUP BY server, requested_model, `model`;
