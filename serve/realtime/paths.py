"""Where calls of client libraries are sent. Nothing is imported here: who stands before Ray's proxy reads it, too."""

PREFIX = "/v1/"
KINDS = ("identify", "track", "page", "screen", "group", "alias")
# What each path takes; None: a batch. The short names are those of Segment's script for browsers.
PATHS: dict[str, str | None] = {
    **{PREFIX + kind: kind for kind in KINDS},
    **{PREFIX + kind[0]: kind for kind in KINDS},
    **{f"{PREFIX}{name}": None for name in ("batch", "import", "b", "events")},
}
