"""Output of `make check` on known vulnerabilities, and on services that do not respond."""

from tests.audit_dependencies import Audit, ask, read_reply, report

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {
    "name": "werkzeug",
    "version": "3.0.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.0.1"], "aliases": []}],
}
UNKNOWN = {"name": "scipy", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def test_known_vulnerability_fails_the_check_and_names_the_fixed_version():
    lines, status = report([read_reply("pypi", {"dependencies": [CLEAN, BAD, UNKNOWN]})])
    assert status == 1
    assert "werkzeug 3.0.0: PYSEC-1, fixed in 3.0.1" in lines[0]
    assert "2 packages audited, 1 unknown" in lines[1]


def test_a_service_that_lacks_all_packages_counts_as_silent():
    reply = read_reply("pypi", {"dependencies": [UNKNOWN, UNKNOWN]})
    lines, status = report([reply])
    assert status == 0 and "knows none of 2 packages" in lines[0] and "NOT AUDITED" in lines[-1]


def test_the_second_service_counts_where_the_first_is_silent():
    lines, status = report(
        [Audit("pypi", problem="down"), read_reply("osv", {"dependencies": [BAD]})]
    )
    assert status == 1 and "no reply (down)" in lines[0]


def test_a_failing_tool_is_no_reply(tmp_path):
    tool = tmp_path / "pip-audit"
    tool.write_text("#!/bin/sh\necho 'ConnectionError: no route' >&2\nexit 1\n")
    tool.chmod(0o755)
    audit = ask(str(tool), "pypi")
    assert audit.problem == "ConnectionError: no route"
