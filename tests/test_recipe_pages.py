"""The pages of docs/recipes: all are listed, all are run, and none says what it should not."""

from __future__ import annotations

import re

import pytest

from helpers.recipes import ADDED, DIRECTORY, pages, programs

TESTS = DIRECTORY.parents[1] / "tests"
PAGES = pages()


@pytest.fixture(scope="module")
def index() -> str:
    return (DIRECTORY / "README.md").read_text()


def test_the_index_lists_each_page_once(index: str):
    assert sorted(re.findall(r"^\| \[[\w. ]+\]\(([\w-]+)\.md\) \|", index, re.MULTILINE)) == PAGES


def test_each_page_is_run_by_some_test():
    tests = "".join(path.read_text() for path in sorted(TESTS.glob("test_recipe_*.py")))
    run = set(re.findall(r"(?:programs|each)\(\"([\w-]+)\"\)", tests))
    assert run == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_adds_one_line_or_two_to_each_program(page: str):
    for program in programs(page):
        compile(program.code, page, "exec")
        server = "TicketKeyRing" in program.code
        assert program.code.count(ADDED) in ((1, 2) if server else (1,))
        assert max(map(len, program.code.splitlines())) <= 110


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    for target in re.findall(r"\]\(([^)#]+)\)", (DIRECTORY / f"{page}.md").read_text()):
        assert (DIRECTORY / target).exists(), target
