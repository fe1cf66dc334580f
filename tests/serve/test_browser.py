"""A browser sees what people see: the MLflow pages over a store with trained models, and the reference page.

Pictures go to the test's temporary folder, or to that in CUSTOMER360_SCREENSHOTS.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models import base
from customer360.models.lifecycle import plots
from customer360.models.lifecycle.card import card
from customer360.models.lifecycle.fit import Fit
from customer360.models.lifecycle.plan import Choices, Objective, plan_of
from customer360.models.lifecycle.tuning import Trial, Tuned, TuningRun
from customer360.platform.settings import Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # MLflow's own warnings are not ours
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
AS_OF, VERSIONS = date(2024, 7, 1), {"silver.subject_days": 12}
WAIT = 60_000  # milliseconds until a page must show something; machines of tests are busy


@pytest.fixture(scope="module")
def page() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1500, "height": 1000})
        opened.set_default_timeout(WAIT)
        yield opened
        browser.close()


@pytest.fixture
def keep(page, tmp_path: Path) -> Callable[[str], None]:
    """Keeps a picture of the page under a name."""
    folder = Path(os.environ.get("CUSTOMER360_SCREENSHOTS", tmp_path))

    def picture(name: str) -> None:
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / f"{name}.png")
        assert (folder / f"{name}.png").stat().st_size > 10_000, "an empty page"

    return picture


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def fill(state: Path) -> str:
    """Two versions of churn with pictures and cards, the second a challenger, and a search of three trials; the
    registry's address."""
    from customer360.models.lifecycle.tracking import local_registry

    registry, churn = local_registry(state), base.find("churn")
    rng, plan = np.random.default_rng(0), plan_of(churn)
    for depth in (2, 3):
        files = state / f"fitted{depth}"
        files.mkdir(parents=True)
        (files / "churn.json").write_text(str(depth))
        score = rng.uniform(size=500)
        rows = pl.DataFrame({"person_id": [f"p{i}" for i in range(500)], "truth": rng.uniform(size=500) < score})
        judged = base.Evaluation(
            {"auc": 0.7 + depth / 100, "ece": 0.03, "row_count": 500.0},
            {"auc_over_recency": "better"},
            rows.with_columns(score=pl.Series(score)),
        )
        fit = Fit(churn, churn.params(max_depth=depth), AS_OF, VERSIONS)
        described = card(fit, judged, date(2024, 4, 2), plan)
        registry.log_model_run(fit, files, judged, card=described, figures=plots.figures(judged))
    searched = plan.model_copy(
        update={"search": {"max_depth": Choices(choices=(2, 3))}, "objective": Objective(metric="auc", direction="max")}
    )
    run = TuningRun("churn", AS_OF, churn.params(), searched, 3, 90, {}, VERSIONS)
    trials = tuple(Trial(i, drawn, 9, 0.7 + i / 100, {"auc": 0.7 + i / 100}) for i, drawn in enumerate(run.drawn()))
    registry.log_tuning(Tuned(run, trials), plots.trials([t.score for t in trials], "auc", 0.7))
    return registry.uri


@pytest.fixture(scope="module")
def mlflow_ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of `mlflow ui` and of the store behind it."""
    state = tmp_path_factory.mktemp("state")
    store, port = fill(state), free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        store,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    # Its queue of jobs is ten processes that nothing here asks for.
    alone = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (state / "ui.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=state, env=alone, start_new_session=True)
        try:
            await_answer(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}", store
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)


def await_answer(address: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"{address} did not answer"
            time.sleep(0.5)


def test_mlflow_shows_runs_pictures_models_and_aliases(page, mlflow_ui, keep) -> None:
    import mlflow

    address, store = mlflow_ui
    client = mlflow.MlflowClient(store, store)
    (experiment,) = [e for e in client.search_experiments() if e.name == "churn"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    page.goto(f"{address}/#/experiments/{experiment.experiment_id}/runs")
    page.get_by_text("tune churn 2024-07-01").first.wait_for()
    assert page.get_by_text("churn 2024-07-01", exact=True).count() >= 2
    keep("runs")

    two = [run.info.run_id for run in runs.values() if run.info.run_name.startswith("trial")][:2]
    chosen = "%5B" + ",".join(f"%22{run}%22" for run in two) + "%5D"
    page.goto(f"{address}/#/compare-runs?runs={chosen}&experiments=%5B%22{experiment.experiment_id}%22%5D")
    page.get_by_text("Comparing 2 Runs", exact=False).first.wait_for()
    page.get_by_text("max_depth").first.wait_for()
    for run in two:
        page.get_by_text(run[:8], exact=False).first.wait_for()
    for figure in ("0.71", "0.72"):  # AUC of the two
        page.get_by_text(figure, exact=False).first.wait_for()
    keep("comparison")

    trained = runs["churn 2024-07-01"].info.run_id
    page.goto(f"{address}/#/experiments/{experiment.experiment_id}/runs/{trained}/artifacts/plots/roc.png")
    picture = page.locator("img[src*='blob:'], img[src*='roc.png'], img[src*='get-artifact']").first
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 100
    keep("plot")

    page.goto(f"{address}/#/models/churn")
    page.get_by_text("champion").first.wait_for()
    page.get_by_text("challenger").first.wait_for()
    keep("model")
    page.goto(f"{address}/#/models/churn/versions/1")
    page.get_by_text("Guardrail", exact=False).or_(page.get_by_text("will an active customer")).first.wait_for()
    keep("version")


def test_the_reference_page_shows_every_endpoint(page, tmp_path: Path, keep) -> None:
    import uvicorn

    from customer360.serve.app import build_app

    port, app = free_port(), build_app(Settings(state=str(tmp_path)))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        await_answer(f"http://127.0.0.1:{port}/docs")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/docs")
        headings = page.locator("section > h3").all_inner_texts()
        assert {path for path in app.openapi()["paths"] if not any(path in h for h in headings)} == set()
        page.get_by_role("link", name="GET /v1/people/{person_id}/scores").click()
        assert page.locator("section:target pre").first.inner_text().startswith("curl -H")
        assert asked == [f"http://127.0.0.1:{port}/docs"], "the page asked for more than itself"
        keep("reference")
    finally:
        server.should_exit = True
        thread.join(10)
