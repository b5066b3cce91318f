"""Asks the advisory services whether a locked version has a known vulnerability.

    python -m tests.audit_dependencies PIP_AUDIT

The status is 1 if one has. If no service responds, this is printed, and the status is 0: nothing is
known then.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
SERVICES = ("pypi", "osv")


@dataclass
class Audit:
    """Result of one service.

    Attributes:
        service: its name.
        audited: packages that it knows.
        skipped: packages that it does not.
        vulnerable: one line for each known vulnerability.
        problem: why it gave no reply; empty if it did.
    """

    service: str
    audited: int = 0
    skipped: int = 0
    vulnerable: list[str] = field(default_factory=list)
    problem: str = ""


def ask(tool: str, service: str) -> Audit:
    """Runs pip-audit on the lock file."""
    call = [
        tool,
        "-r",
        str(LOCK),
        "--no-deps",
        "--disable-pip",
        "--progress-spinner",
        "off",
        "-f",
        "json",
        "-s",
        service,
    ]
    result = subprocess.run(call, capture_output=True, text=True, check=False)
    try:
        return read_reply(service, json.loads(result.stdout))
    except (ValueError, KeyError):
        lines = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
        return Audit(service, problem=lines[-1][:100])


def read_reply(service: str, reply: dict) -> Audit:
    """Counts the advisories of each package in pip-audit's JSON."""
    audit = Audit(service)
    for package in reply["dependencies"]:
        if "skip_reason" in package:
            audit.skipped += 1
            continue
        audit.audited += 1
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            audit.vulnerable.append(
                f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}"
            )
    if not audit.audited:
        audit.problem = f"it knows none of {audit.skipped} packages, so it is not the real one"
    return audit


def report(audits: Sequence[Audit]) -> tuple[list[str], int]:
    """Formats known advisories, and the status of the command."""
    answered = [audit for audit in audits if not audit.problem]
    lines = [
        f"pip-audit, {audit.service}: no reply ({audit.problem})"
        for audit in audits
        if audit.problem
    ]
    if not answered:
        return [
            *lines,
            "pip-audit: NOT AUDITED. No advisory service could be reached from this machine.",
        ], 0
    last = answered[-1]
    lines += [f"pip-audit, {last.service}: {line}" for line in last.vulnerable]
    lines.append(
        f"pip-audit, {last.service}: {last.audited} packages audited, {last.skipped} unknown to it,"
        f" {len(last.vulnerable)} known vulnerabilities."
    )
    return lines, 1 if last.vulnerable else 0


def main(tool: str) -> int:
    """Queries one service after the other until one responds."""
    audits: list[Audit] = []
    for service in SERVICES:
        audits.append(ask(tool, service))
        if not audits[-1].problem:
            break
    lines, status = report(audits)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
