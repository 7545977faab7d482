-- Which rules leak most, over all hosts: the first ${TOP_LEAKS} of a table by rule and service, by occurrences, with how many findings, occurrences
-- and hosts, and with their `place`, 1 for the worst. Reads findings as
-- `[[sinks.kafka]]` writes them (`format = "ocsf"`, the default); revisions of a finding on a host count once, with the newest count.

SET 'table.exec.state.ttl' = '8 d';
SET 'execution.checkpointing.interval' = '10 s';

CREATE TABLE findings (
  class_uid INT, `count` BIGINT, `time` BIGINT,
  finding_info ROW<uid STRING, analytic ROW<uid STRING, name STRING>>,
  device ROW<hostname STRING, uid STRING>,
  metadata ROW<uid STRING>,
  actor ROW<app_name STRING>,
  seen_at AS PROCTIME()
) WITH (
  'connector' = 'kafka', 'topic' = '${FINDINGS_TOPIC}', 'properties.bootstrap.servers' = '${BROKERS}', 'properties.group.id' = 'outflow-flink-leaks',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json', 'json.ignore-parse-errors' = 'true'
);

CREATE TABLE top_leaks (
  place BIGINT, rule STRING, service STRING, title STRING, findings BIGINT, occurrences BIGINT, hosts BIGINT, last_seen_ms BIGINT,
  PRIMARY KEY (place) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka', 'topic' = '${LEAKS_TOPIC}', 'properties.bootstrap.servers' = '${BROKERS}', 'key.format' = 'json', 'value.format' = 'json'
);

-- 2006 is OCSF's class of leaked data. Counts only rise, so the newest revision is the largest; a repeat changes nothing. The key is the place:
-- by rule and service, a row that falls behind the last place would stay for ever (tried with Flink 2.0). Rule and service order what is alike.
INSERT INTO top_leaks
SELECT place, rule, service, title, findings, occurrences, hosts, last_seen_ms
FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY occurrences DESC, findings DESC, rule, service) AS place
      FROM (SELECT rule, service, MAX(title) AS title, COUNT(*) AS findings, SUM(occurrences) AS occurrences, COUNT(DISTINCT host) AS hosts,
                   MAX(last_seen_ms) AS last_seen_ms
            FROM (SELECT finding_info.uid AS finding, COALESCE(device.uid, device.hostname, '') AS host, finding_info.analytic.uid AS rule,
                         COALESCE(actor.app_name, '') AS service, MAX(finding_info.analytic.name) AS title, MAX(`count`) AS occurrences,
                         MAX(`time`) AS last_seen_ms
                  FROM findings WHERE class_uid = 2006 AND finding_info.uid IS NOT NULL AND finding_info.analytic.uid IS NOT NULL
                  GROUP BY finding_info.uid, COALESCE(device.uid, device.hostname, ''), finding_info.analytic.uid, COALESCE(actor.app_name, ''))
            GROUP BY rule, service))
WHERE place <= ${TOP_LEAKS};
