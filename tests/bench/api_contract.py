"""Does the server keep to its OpenAPI document, whatever it is asked? Schemathesis against a server that runs, once
with the key of each role and once with none: no fault of the server, no status, body or media type that the document
does not name. Prints a row a role; ends with 1 where one broke the contract.

    customer360 serve --plain &      # over a lake of its own: steward's requests change it
    customer360 key issue contract-steward --role steward    # and so for each role
    python tests/bench/api_contract.py --url http://127.0.0.1:8000 --key steward=c360_… --key reader=c360_…

Schemathesis stands in an environment of its own: `python -m venv .contract && .contract/bin/pip install schemathesis`,
then `--st .contract/bin/st`.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys

# `ignored_auth` takes one good key of the two headers that may carry it for none; `positive_data_acceptance` cannot
# know which models, records and requests there are.
LEFT_OUT = "ignored_auth,positive_data_acceptance"
PHASES = "examples,coverage,fuzzing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", action="append", default=[], metavar="ROLE=KEY")
    parser.add_argument("--examples", type=int, default=25, help="of each operation")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10, help="that an answer may take")
    parser.add_argument("--st", default="st", help="the command of schemathesis")
    arguments = parser.parse_args()
    if shutil.which(arguments.st) is None:
        raise SystemExit(f"{arguments.st} is not there: pip install schemathesis, in an environment of its own")
    keys = [("none", ""), *(key.partition("=")[::2] for key in arguments.key)]
    sound = [judged(arguments, role, key) for role, key in keys]
    raise SystemExit(0 if all(sound) else 1)


def judged(arguments: argparse.Namespace, role: str, key: str) -> bool:
    command = [arguments.st, "run", f"{arguments.url}/openapi.json", "--no-color", "--workers", "1"]
    command += ["--phases", PHASES, "--max-examples", str(arguments.examples), "--seed", str(arguments.seed)]
    command += ["--exclude-checks", LEFT_OUT, "--continue-on-failure", "--request-timeout", str(arguments.seconds)]
    command += ["-H", f"X-API-Key: {key}"] if key else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cases = re.search(r"Test cases:\s*(.*(?:\n.*)?)", ended.stdout)
    spent = after.ru_utime - before.ru_utime
    told = " ".join(cases[1].split()) if cases else ended.stdout[-300:]
    print(f"{role:8} {'kept' if ended.returncode == 0 else 'BROKEN'}   {told}   {spent:.0f} s of CPU", flush=True)
    if ended.returncode:
        print(ended.stdout, file=sys.stderr)
    return ended.returncode == 0


if __name__ == "__main__":
    main()
