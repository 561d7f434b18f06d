"""Attacks kib: `python tests/robustness --kills 1000 --damage 500` stops commands, then damages stored files.

The seed is printed; an attack with the same seed and counts makes the same choices. The exit code is 1 if kib lost or
changed anything, left temporary files, used a damaged file silently, or printed a traceback.
"""

import argparse
import os
import random
import secrets
import shutil
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path


def main() -> int:
    """Run an attack, print its counts, and return 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="robustness", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="number of times that a command is stopped")
    parser.add_argument("--damage", type=int, default=0, help="number of damaged files")
    parser.add_argument("--commands", nargs="+", default=(), help="stop only these commands, such as run or questions")
    parser.add_argument("--only", default="", help="damage only files whose paths start with this text, such as work/")
    parser.add_argument("--light", action="store_true", help="use toy plugins instead of a small model: much faster")
    parser.add_argument("--seed", type=int, help="seed of all choices; default: a new one")
    asked = parser.parse_args()
    seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    report(f"{asked.kills} kills, {asked.damage} damaged files, seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="kib-robustness-"))
    try:
        return _attack(asked, seed, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(line: str) -> None:
    """Print a line immediately, because an attack takes minutes."""
    print(line, flush=True)  # noqa: T201 - a script


def _attack(asked: argparse.Namespace, seed: int, folder: Path) -> int:
    _set_environment(folder)
    from damage import damage
    from fixture import make_bench, start_chat_server
    from forked import Runner
    from kills import BASELINE, QUESTIONS, RETRIEVE, RUN, kill
    from toy_site import make_toy_site

    sys.path.append(str(make_toy_site(folder / "site")))

    server, url = start_chat_server()
    try:
        bench = make_bench(folder / "new", url, light=asked.light)
        (folder / "said").mkdir()
        runner = Runner(folder / "said")
        runner.preload(bench.bare(folder / "warm").folder, RUN, RETRIEVE, QUESTIONS, BASELINE)
        for command in (RUN, RETRIEVE, QUESTIONS, BASELINE):
            ended = runner(command, bench.folder)
            if ended.code:
                raise SystemExit(f"{' '.join(command)}: exit code {ended.code}\n{ended.stderr}")
        findings = 0
        attacks = {
            "kills": (partial(kill, names=asked.commands), asked.kills),
            "damage": (partial(damage, only=asked.only), asked.damage),
        }
        for name, (attack, count) in attacks.items():
            if count:
                chance = random.Random(f"{name} {seed}")  # noqa: S311 - no secret
                tally = attack(bench, folder / name, runner, count, chance)
                findings += len(tally.findings)
                counts = ", ".join(f"{key} {value}" for key, value in sorted(tally.counts.items()))
                report(f"{name}, seed {seed}: {counts}; findings {len(tally.findings)}")
    finally:
        server.terminate()
    return int(findings > 0)


def _set_environment(folder: Path) -> None:
    """Use one thread, no network, and caches that end with this process."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120", "NO_PROXY": "127.0.0.1"}
    os.environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "HF_HOME": str(folder / "hub")}
    warnings.simplefilter("ignore")


sys.path.append(str(Path(__file__).parent.parent))  # for the helper modules that several tests import

if __name__ == "__main__":
    sys.exit(main())
