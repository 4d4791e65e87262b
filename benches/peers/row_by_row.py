"""Copies a table as many scheduled jobs do: rows from a named cursor, put into INSERT ... VALUES.

    python3 row_by_row.py SOURCE_URL DESTINATION_URL TABLE [ROWS]

The table must exist at the destination and be empty. Needs psycopg2 (Debian: python3-psycopg2).
"""

import sys
import time

try:
    import psycopg2
    from psycopg2 import sql
    from psycopg2.extras import execute_values
except ImportError:
    sys.exit("row_by_row.py needs psycopg2: apt-get install python3-psycopg2")

ROWS_AT_A_TIME = 2_000


def copy(source_url: str, destination_url: str, table: str, limit: int) -> int:
    """Copies up to `limit` rows in one transaction of each server; returns their number."""
    name = sql.Identifier(*table.split("."))
    select = sql.SQL("select * from {} limit %s").format(name)
    source, destination = psycopg2.connect(source_url), psycopg2.connect(destination_url)
    insert = sql.SQL("insert into {} values %s").format(name).as_string(destination)
    copied = 0
    with source, destination, source.cursor("rows") as rows, destination.cursor() as writer:
        rows.itersize = ROWS_AT_A_TIME
        rows.execute(select, (limit,))
        while batch := rows.fetchmany(ROWS_AT_A_TIME):
            execute_values(writer, insert, batch, page_size=ROWS_AT_A_TIME)
            copied += len(batch)
    return copied


def main() -> None:
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    limit = int(sys.argv[4]) if len(sys.argv) == 5 else 300_000
    start, cpu = time.monotonic(), time.process_time()
    rows = copy(*sys.argv[1:4], limit)
    wall, cpu = time.monotonic() - start, time.process_time() - cpu
    print(f"{rows} rows in {wall:.2f} s, {rows / wall:.0f} per second, CPU {cpu / rows * 1e6:.1f} us per row")


if __name__ == "__main__":
    main()
