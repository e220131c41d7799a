"""Which rejects are still to be mended, how one is named in a file of mended lines, and which text of them is whole."""

from dataclasses import dataclass
from typing import Any

from loader.errors import UsageError

REASONS = (
    "invalid_json",
    "invalid_utf8",
    "not_an_object",
    "missing_type",
    "unknown_type",
    "empty_batch",
    "bad_batch",
    "line_too_long",
)

# A line that names the reject which the lines below it mend: `# reject 17:4:2/9f3ac1d2 ...`, file_id, line, element and
# the digest. That tells a reject of another warehouse with the same numbers from this one's.
MARK = r"^# reject (\d+):(\d+)(?::(\d+))?/([0-9a-f]{8})(?: .*)?$"
DIGEST = "left(md5(raw), 8)"
NAME = f"loader_file_id || ':' || loader_line || coalesce(':' || loader_element, '') || '/' || {DIGEST}"

# Of a line too large to keep there is its beginning: 1 MiB, but for the rest of a character at its end, or of other
# text than ASCII 262,144 characters.
CUT = "(strlen(raw) > 1048572 OR (length(raw) = 262144 AND strlen(raw) > 262144))"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which open rejects are meant. No reasons: all. file: a path, the end of one, or a glob; None: all files.

    every: also those of files that were read again since.
    """

    reasons: tuple[str, ...] = ()
    file: str | None = None
    every: bool = False

    def __post_init__(self) -> None:
        for reason in self.reasons:
            if reason not in REASONS:
                raise UsageError(f"--reason: there is no reason {reason!r}. There are: {', '.join(REASONS)}.")

    def sql(self, rejects: str, files: str) -> str:
        """SELECT of the chosen rejects with the `uri` of their file, from these relations. Takes `parameters`.

        Open is what was not replayed; of a file that was read again (streams never are) what its last reading found,
        without what was replayed before: the same text in the same place.
        """
        return f"""
            WITH known AS (
                SELECT r.*, f.uri, f.size IS NOT NULL AS is_file, r.loader_file_id = last.file_id AS is_last
                FROM {rejects} r JOIN {files} f ON f.file_id = r.loader_file_id
                LEFT JOIN (SELECT uri, max(file_id) AS file_id FROM {files} WHERE size IS NOT NULL GROUP BY uri) last
                    ON last.uri = f.uri
            ), mended AS (
                SELECT uri, loader_line, coalesce(loader_element, -1) AS element, md5(raw) AS hash
                FROM known WHERE replayed_by IS NOT NULL AND is_file
            )
            SELECT * EXCLUDE (is_file, is_last) FROM known
            WHERE replayed_by IS NULL
                AND ($every OR NOT is_file OR (is_last
                    AND (uri, loader_line, coalesce(loader_element, -1), md5(raw)) NOT IN (FROM mended)))
                AND (len($reasons) = 0 OR list_contains($reasons, reason))
                AND ($file::VARCHAR IS NULL OR uri = $file OR uri GLOB $file OR uri GLOB ('*/' || $file))
        """

    @property
    def parameters(self) -> dict[str, Any]:
        """What `sql` takes."""
        return {"reasons": list(self.reasons), "file": self.file, "every": self.every}
