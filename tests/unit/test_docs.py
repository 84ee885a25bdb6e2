"""The documentation holds together: links lead somewhere, the site has every page."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [*PAGES, *ROOT.glob("*.md"), ROOT / "config" / "README.md", ROOT / "benchmarks/README.md"]


def pages_of(nav: object) -> list[str]:
    """File names in a table of contents, which may be nested."""
    if isinstance(nav, str):
        return [nav]
    children = nav.values() if isinstance(nav, dict) else nav
    return [page for child in children for page in pages_of(child)]  # type: ignore[attr-defined]


def test_the_site_has_every_page_once():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(pages_of(nav)) == [page.name for page in PAGES]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path: Path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        file, _, heading = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{path.name} links to {target}"
        if path in PAGES:
            assert found.parent == ROOT / "docs", f"{target} is no part of the site"
        if heading:
            assert heading in headings(found), f"{path.name} links to {target}"


def headings(path: Path) -> set[str]:
    """Anchors of a Markdown file."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_fences_are_closed_and_one_title_comes_first(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("```") for line in lines) % 2 == 0
    assert lines[0].startswith("# ")
    assert sum(line.startswith("# ") for line in without_code(lines)) == 1


def without_code(lines: list[str]) -> list[str]:
    """Lines outside of code blocks."""
    inside, outside = False, []
    for line in lines:
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            outside.append(line)
    return outside


def test_citation_and_catalog_are_valid_yaml():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{citation["version"]}"' in project
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))
    assert catalog["usage"]["software-stack-deployment"]["conda"] is True
    assert catalog["usage"]["report"] is True


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_map_names_every_room_in_the_order_of_imports():
    """The folder table is that of the layers that import-linter holds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = [re.split(r" [|:] ", layer) for layer in layers]
    table = re.search(r"\| Folder of `snakesteer/` .*?\n\n", CONTRIBUTING, re.S)[0]
    lines = table.strip().splitlines()[2:]
    named = [re.findall(r"`(\w+)(?:/|\.py)`", line.split("|")[1]) for line in lines]
    place = {room: number for number, group in enumerate(rooms) for room in group}
    order = [name for group in named for name in group]
    assert set(order) == set(place)
    assert [place[name] for name in order] == sorted(place.values())


def test_what_the_map_names_is_there():
    paths = re.findall(r"`((?:snakesteer|workflow|config|tests|docs)/[\w./]*)`", CONTRIBUTING)
    on_the_way = re.search(r"One vector on its way:.*?\n### ", CONTRIBUTING, re.S)[0]
    paths += [f"snakesteer/{path}" for path in re.findall(r"`(\w+/[\w/]+\.py)`", on_the_way)]
    paths = [path for path in paths if not re.search(r"[A-Z]{4}", path)]
    assert len(paths) > 45
    assert [path for path in paths if not (ROOT / path).exists()] == []
