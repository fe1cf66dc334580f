import random

import polars as pl
from polars.testing import assert_frame_equal

from customer360.pipelines import agents
from customer360.pipelines.sessions import _says_machine

AGENTS = (
    None, "", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) Mobile/15E148", "Mozilla/5.0 (Linux; Android 10; Tab)",
    "Mozilla/5.0 (Linux; Android 10) Mobile", "Mozilla/5.0 (Windows NT 10.0)", "Mozilla/5.0 (SMART-TV; Linux)",
    "Googlebot/2.1 (+http://www.google.com/bot.html)", "Cubot X", "own-crawler/1",
)  # fmt: skip
DECLARED = (None, "TABLET", "DESKTOP", "")


def test_what_is_asked_of_each_different_agent_is_what_each_row_says() -> None:
    chosen = random.Random(3)
    rows = [(chosen.choice(AGENTS), chosen.choice(DECLARED)) for _ in range(500)]
    for some in (rows, rows[:1], [(None, None)] * 3, []):
        frame = pl.DataFrame(some, schema={"agent": pl.String, "declared": pl.String}, orient="row")
        agent, declared = pl.col("agent"), pl.col("declared")
        made = frame.select(
            kind=agents.device_type(agent, declared),
            silent=agents.device_type(agent, pl.lit(None, pl.String)),
            machine=agents.whether(agent, _says_machine),
        )
        by_row = frame.select(
            kind=agents._device_type(agent, declared),
            silent=agents._device_type(agent, pl.lit(None, pl.String)),
            machine=_says_machine(frame["agent"]),
        )
        assert_frame_equal(made, by_row)
