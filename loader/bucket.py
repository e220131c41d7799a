"""What is in a bucket: listings by pages, objects by blocks; what is tried again, and what is said when that fails."""

import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from loader import storage
from loader.errors import LoaderError
from loader.storage import Address
from loader.text import plain

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds before a request is made again, give or take a half
PAGE = 1000
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_KIND = re.compile(r"\bkind: (Connect|Timeout|Interrupted|Decode)\b")
_HOST = re.compile(r"https?://([^/?\s\"]+)")
_OBJECT_PATH = re.compile(r'Path "([^"]*)"')
_AGAIN = {408, 429, 500, 502, 503, 504}

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Object:
    """An object as it is listed. key: from the bucket's root. size: bytes. etag: without quotes, which some listings
    have and others have not; None where the store gives none, or a weak one."""

    key: str
    size: int
    modified: datetime
    etag: str | None


class BucketError(LoaderError):
    """A request that failed for good. gone, replaced: the object is not, or no longer, what was listed.

    down: the fault is the connection's or the service's, so that others will fail, too.
    """

    def __init__(self, uri: str, why: str, *, gone: bool = False, replaced: bool = False, down: bool = False) -> None:
        super().__init__(f"{uri}: {why}")
        self.why, self.gone, self.replaced, self.down = why, gone, replaced, down


class Bucket:
    """A bucket to read from. stop: set, it ends all waiting, and what is not there yet is given up."""

    def __init__(self, address: Address, settings: Mapping[str, str], stop: threading.Event | None = None) -> None:
        self._address, self._store = address, storage.connect(address, settings)
        self._stop = stop or threading.Event()

    def objects(self, folder: str, after: str | None = None) -> Iterator[Object]:
        """All objects below a folder ("": all there are) in the order of their keys, a page at a time.

        after: only those with a greater key. An object without bytes is none: so stores keep an empty folder.
        """
        import obstore

        last, pages = after, None

        def page() -> Any:
            nonlocal pages
            if pages is None:  # at first, or from where a listing broke off
                pages = iter(obstore.list(self._store, folder or None, offset=last, chunk_size=PAGE))
            try:
                return next(pages, None)
            except BaseException:
                pages = None
                raise

        while found := self._try(self._address.uri(folder), page):
            for each in found:
                if each["size"]:
                    yield _object(each)
            last = found[-1]["path"]

    def head(self, key: str) -> Object | None:
        """The object of that key; None if there is none."""
        import obstore

        try:
            found = self._try(self._address.uri(key), lambda: obstore.head(self._store, key))
        except BucketError as error:
            if error.gone:
                return None
            raise
        return _object(found)

    def block(self, wanted: Object, start: int, end: int) -> memoryview:
        """The bytes from start to end of an object as it was listed. BucketError if it is another by now."""
        import obstore

        options: Any = {"range": (start, end)} | ({"if_match": f'"{wanted.etag}"'} if wanted.etag else {})
        uri = self._address.uri(wanted.key)

        def get() -> memoryview:
            result = obstore.get(self._store, wanted.key, options=options)
            if not _is_same(_object(result.meta), wanted):
                raise _replaced(uri)  # a store that does not know If-Match
            found = memoryview(result.bytes())
            if len(found) != end - start:
                raise OSError("cut")
            return found

        return self._try(uri, get)

    def _try(self, uri: str, request: Callable[[], Result]) -> Result:
        """What a request gives; made again after a pause while that may help. BucketError with what to check."""
        from obstore.exceptions import BaseError

        for pause in (*PAUSES, None):
            try:
                return request()
            except (BaseError, OSError, ValueError) as error:
                failure, again = _explain(self._address, uri, error)
                if not again or pause is None or self._stop.wait(pause * random.uniform(0.5, 1.5)):  # noqa: S311
                    raise failure from None
        raise AssertionError


def _object(meta: Any) -> Object:
    etag = meta["e_tag"] or ""
    strong = None if etag.startswith("W/") else etag.strip('"') or None
    return Object(meta["path"], meta["size"], meta["last_modified"].astimezone(UTC), strong)


def _is_same(now: Object, wanted: Object) -> bool:
    """Whether that is the object as it was listed. Without an etag, its size and its second tell."""
    if wanted.etag:
        return now.etag == wanted.etag
    return now.size == wanted.size and now.modified.replace(microsecond=0) == wanted.modified.replace(microsecond=0)


def _replaced(uri: str) -> BucketError:
    return BucketError(uri, "it was replaced while it was read. The next run reads the new one.", replaced=True)


def _explain(address: Address, uri: str, error: Exception) -> tuple[BucketError, bool]:
    """What a failure means and what to check; and whether to try again. Of what the store answered only the code is
    told: the rest may hold keys."""
    text = str(error)
    status = int(match.group(1)) if (match := _STATUS.search(text)) else 0
    code = match.group(1) if (match := _CODE.search(text)) else ""
    answer = " ".join(filter(None, (str(status or ""), code)))
    prefix = storage.SCHEMES[address.scheme].upper()
    where = f"the variables {prefix}… and [storage] in loader.toml"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "PreconditionError" in kinds or status == 412:
        return _replaced(uri), False
    if code in ("NoSuchBucket", "ContainerNotFound"):
        why = f"there is no bucket {address.bucket} there ({answer}). Check its name, and the endpoint in {where}."
        return BucketError(uri, why, down=True), False
    if "FileNotFoundError" in kinds or status == 404:
        why = "it is gone: it was deleted after it was listed. If it is needed, put it there again."
        return BucketError(uri, why, gone=True), False
    if "InvalidPathError" in kinds:
        name = plain(match.group(1)) if (match := _OBJECT_PATH.search(text)) else "an object"
        why = (
            f"'{name}' is there, and a name with an empty part, a part of dots or a control character can't be read. "
            "Rename it, or give another folder."
        )
        return BucketError(uri, why), False
    if "/latest/" in text or "metadata.google.internal" in text or "/metadata/identity" in text:
        return BucketError(uri, f"there are no keys for {address.root}. Check {where}.", down=True), False
    if code == "RequestTimeTooSkewed":
        why = f"the clock of this machine is wrong, and such requests are refused ({answer}). Set it, best by NTP."
        return BucketError(uri, why, down=True), False
    if code == "InvalidObjectState":
        why = f"it is archived ({answer}). Restore it there, or leave out its day with --since."
        return BucketError(uri, why), False
    if status in (401, 403) or kinds & {"PermissionDeniedError", "UnauthenticatedError"}:
        why = (
            f"permission denied ({answer or 'no answer'}). Check the keys in {where}, whether they may list the bucket "
            "and read its objects, and the clock of this machine."
        )
        return BucketError(uri, why), False
    if status in (301, 307, 308) or "redirect" in text.lower() or code == "AuthorizationHeaderMalformed":
        return BucketError(uri, f"the bucket is in another region. Check {prefix}REGION.", down=True), False
    if status and status not in _AGAIN:
        why = f"the request was refused ({answer}). Check the address, and the region and the keys in {where}."
        return BucketError(uri, why), False
    if status:
        why = f"the server is overloaded or failing ({answer}), also after {len(PAUSES)} more tries."
        return BucketError(uri, f"{why} Run the same command again later.", down=True), True
    if "builder error" in text or "Could not parse" in text:
        return BucketError(uri, f"the address of the server is not usable. Check the endpoint in {where}."), False
    kind = match.group(1) if (match := _KIND.search(text)) else ""
    what = {"Connect": "no connection to", "Timeout": "no answer in time from"}.get(kind, "the connection was cut by")
    host = match.group(1).rpartition("@")[2] if (match := _HOST.search(text)) else "the server"
    why = f"{what} {host}, also after {len(PAUSES)} more tries. Check the network, and the endpoint in {where}."
    return BucketError(uri, why, down=True), True
