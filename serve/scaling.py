"""How many replicas answer on Ray Serve."""

from __future__ import annotations

from typing import Any

from customer360.platform.settings import ServeSettings


def replicas(limits: ServeSettings) -> dict[str, Any]:
    """How many replicas there are, as Ray Serve is told."""
    if limits.autoscale is None:
        return {"num_replicas": limits.replicas}
    wanted = limits.autoscale
    return {
        "autoscaling_config": {
            "min_replicas": limits.replicas,
            "max_replicas": wanted.most,
            "target_ongoing_requests": wanted.requests,
            "upscale_delay_s": wanted.grow_seconds,
            "downscale_delay_s": wanted.shrink_seconds,
            "metrics_interval_s": min(10.0, wanted.grow_seconds),  # Ray's own where that is often enough
            "look_back_period_s": min(30.0, wanted.grow_seconds),
        }
    }
