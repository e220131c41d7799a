"""Posts a summary to a webhook: what is tried again, and that a fault of it is never one of the load."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

PAUSES = (1.0, 3.0)  # seconds before it is tried again
_TIMEOUT = 10  # seconds
_UNUSABLE = "its address is not usable"


def post(address: str, summary: Mapping[str, Any]) -> str | None:
    """Posts the summary as JSON. None, or why that failed, without the address: who knows it may post there."""
    why = ""
    for pause in (*PAUSES, 0.0):
        try:
            request = urllib.request.Request(  # noqa: S310 - settings takes http and https only
                address,
                json.dumps(summary, ensure_ascii=False).encode(),
                {"Content-Type": "application/json", "User-Agent": "loader"},
            )
            with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310
                return None
        except urllib.error.HTTPError as error:
            error.close()
            why = f"it answered {error.code}"
            if error.code < 500 and error.code != 429:
                return why
        except OSError as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, str):  # nothing was asked as yet
                return _UNUSABLE
            why = getattr(reason, "strerror", None) or type(reason).__name__
        except (ValueError, http.client.InvalidURL):  # what they say holds the address
            return _UNUSABLE
        except http.client.HTTPException:
            why = "its answer is not HTTP"
        time.sleep(pause)
    return why
