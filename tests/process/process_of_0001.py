"""A server process of release 0.1, as far as it looks at others: its statements and its rules, unchanged. A program.

Its clock is what it reads: one look for each line, at that many seconds. It answers with the ids that it took for gone.
"""

import json
import os
import platform
import sys
from pathlib import Path

from sqlalchemy import create_engine, text

SILENCE = 30.0
NO_ROW = -1
UNFINISHED = "state <> 'Succeeded' AND state IN ('Running', 'Waiting')"
BEAT = (
    "INSERT INTO nodes (id, machine, process, started_at, beat) VALUES ('release-0.1', :machine, 'p', 1.0, :beat) "
    "ON CONFLICT (id) DO UPDATE SET beat = :beat"
)
NODES = "SELECT id, beat FROM nodes ORDER BY id"
ROWLESS = f"SELECT DISTINCT node FROM runs WHERE {UNFINISHED} AND node NOT IN (SELECT id FROM nodes)"
GONE = "DELETE FROM nodes WHERE id = :node AND beat = :seen"
STILL = "SELECT count(*) FROM nodes WHERE id = :node"
INTERRUPT = f"UPDATE runs SET state = 'Interrupted', ended_at = 1.0 WHERE {UNFINISHED} AND node = :node RETURNING id"
FREE = "DELETE FROM idempotency_keys WHERE run_id = :run AND status IS NULL"

OLD = (
    "SELECT id FROM runs WHERE id < :before "
    "AND state IN ('Succeeded', 'Failed', 'Cancelled', 'TimedOut', 'Interrupted') LIMIT 500"
)
PARTS_OF_RUNS = (("steps", "run_id"), ("calls", "run_id"), ("runs", "id"))


TAKE = (
    "INSERT INTO idempotency_keys (scope, fingerprint, run_id, created_at) VALUES (:scope, :fingerprint, :run, :now) "
    "ON CONFLICT (scope) DO UPDATE SET fingerprint = excluded.fingerprint, run_id = excluded.run_id, created_at = "
    "excluded.created_at, status = NULL, reply_headers = NULL, content = NULL, content_form = NULL "
    "WHERE idempotency_keys.created_at < :old"
)
FOUND = "SELECT run_id, fingerprint, status, reply_headers, content FROM idempotency_keys WHERE scope = :scope"
KEPT_FOR = 24 * 3600.0


def claim(connection, scope, fingerprint, run_id, now):
    """What a request with this idempotency key gets: "run" if it runs, else a problem, or the status, headers and body
    that are replayed."""
    values = {"scope": scope, "fingerprint": fingerprint, "run": run_id, "now": now, "old": now - KEPT_FOR}
    connection.execute(text(TAKE), values)
    row = connection.execute(text(FOUND), {"scope": scope}).one()
    if row.run_id == run_id:
        return "run"
    if row.fingerprint != fingerprint:
        return "idempotency-key-reused"
    if row.status is None:
        return "run-in-progress"
    if row.reply_headers is None:
        return "reply-not-kept"
    return row.status, json.loads(row.reply_headers), row.content


def look(engine, seen, now, beat):
    """One look: beat, and interrupt the runs of those that have been silent for too long."""
    with engine.begin() as connection:
        connection.execute(text(BEAT), {"machine": platform.node(), "beat": beat})
        found = [tuple(row) for row in connection.execute(text(NODES))]
        found += [(row[0], NO_ROW) for row in connection.execute(text(ROWLESS))]
    lost = []
    for node, value in found:
        known = seen.get(node)
        seen[node] = known if known is not None and known[0] == value else (value, now)
        if node == "release-0.1" or now - seen[node][1] < SILENCE:
            continue
        with engine.begin() as connection:
            connection.execute(text(GONE), {"node": node, "seen": value})
            if connection.execute(text(STILL), {"node": node}).scalar_one():
                continue
            for (run_id,) in connection.execute(text(INTERRUPT), {"node": node}).all():
                connection.execute(text(FREE), {"run": run_id})
        lost.append(node)
    return lost


def delete_runs(connection, before):
    """What its retention does: delete the records of runs that have ended, whose ids are lower than this one."""
    ids = [row[0] for row in connection.execute(text(OLD), {"before": before})]
    for run_id in ids:
        for table, column in PARTS_OF_RUNS:
            connection.execute(text(f"DELETE FROM {table} WHERE {column} = :run"), {"run": run_id})
    return ids


def main():
    """Look at each line."""
    engine = create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://"))
    seen = dict[str, tuple[int, float]]()
    for beat, line in enumerate(sys.stdin):
        print(json.dumps(look(engine, seen, float(line), beat)), flush=True)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    main()
