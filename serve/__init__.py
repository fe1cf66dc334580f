"""Entry points: the command line, jobs, the server and the console."""

import os

# A run makes hundreds of short builds. Polars' allocator gives their memory back as soon as each is done and asks for
# it again, which was a tenth of a day's run; after 20 seconds without use is soon enough. Polars reads this once, when
# it is imported, and puts its own half second before it.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:20000,muzzy_decay_ms:20000")
