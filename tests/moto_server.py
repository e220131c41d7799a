"""moto as a process: prints its port, fills buckets as lines of JSON on stdin ask for it, and ends with stdin."""

import json
import sys
from datetime import UTC, datetime, timedelta

from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"  # moto's own, of all keys


def fill(bucket: str, folder: str, first: str, days: int, each: int) -> None:
    """Puts objects of the layout of RudderStack, without asking one by one: so many days, so many objects a day."""
    backend = s3_backends[ACCOUNT]["aws"]
    for day in range(days):
        date = (datetime.fromisoformat(first).replace(tzinfo=UTC) + timedelta(days=day)).date()
        for number in range(each):
            text = {"type": "page", "messageId": f"{date}-{number}", "receivedAt": f"{date}T01:00:00Z"}
            backend.put_object(bucket, f"{folder}/{date}/{number:05}.json", json.dumps(text).encode())


if __name__ == "__main__":
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    for line in sys.stdin:
        fill(*json.loads(line))
        print("done", flush=True)
