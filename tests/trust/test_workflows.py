"""What runs on the machines of others has no more rights than it needs, and nothing of it moves on its own."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return yaml.safe_load(request.param.read_text())


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_is_an_audit_of_dependencies():
    audit = yaml.safe_load((ROOT / ".github" / "workflows" / "audit.yml").read_text())
    assert {"pull_request", "schedule"} <= set(audit[True])  # YAML takes "on" for a truth
    assert any(step.get("run") == "make audit" for step in steps(audit))
    assert "pip-audit" in (ROOT / "Makefile").read_text()


def test_a_workflow_reads_and_no_more(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow["jobs"].values())


def test_no_code_of_a_fork_meets_secrets(workflow):
    assert "pull_request_target" not in workflow[True]
    assert "workflow_run" not in workflow[True]
    assert "secrets." not in yaml.safe_dump(workflow)


def test_actions_are_pinned_and_keep_no_token(workflow):
    used = [step for step in steps(workflow) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"(?:actions|astral-sh)/[\w-]+@v\d+", step["uses"]) for step in used)
    checkouts = [step for step in used if step["uses"].startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_no_word_of_a_title_or_a_branch_reaches_a_shell(workflow):
    for step in steps(workflow):
        assert not re.search(r"\$\{\{\s*github\.(?:event|head_ref|ref_name)", step.get("run", ""))
