"""The documentation holds together: links lead somewhere, the site has every page."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from snakemake.cli import get_argument_parser

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


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_say_what_they_mean(path: Path):
    """`--configfile` and `--config` take every word behind them, targets as well."""
    for command in commands(path.read_text(encoding="utf-8")):
        said = get_argument_parser().parse_args(shlex.split(command)[1:])
        assert [str(file) for file in said.configfile if file.suffix != ".yaml"] == [], command
        assert [one for one in said.config or [] if "=" not in one] == [], command


def commands(text: str) -> list[str]:
    """Command lines of Snakemake in a page: in blocks of shell code and within the text."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ")
    lines = [line.partition(" #")[0].strip() for line in blocks.splitlines()]
    inline = re.findall(r"`(snakemake [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return [line for line in [*lines, *inline] if line.startswith("snakemake ")]


def test_commands_are_found_in_pages():
    page = "`snakemake a`\n```sh\nb\nsnakemake c \\\n  -n  # dry\n```\n`python`"
    assert [command.split() for command in commands(page)] == [
        ["snakemake", "c", "-n"],
        ["snakemake", "a"],
    ]
    assert sum(len(commands(path.read_text(encoding="utf-8"))) for path in TEXTS) > 30


def test_no_target_stands_behind_a_config_file_anywhere():
    """In comments and messages as well, which no parser reads."""
    rules = "\n".join(path.read_text("utf-8") for path in ROOT.glob("workflow/rules/*.smk"))
    targets = set(re.findall(r"^(?:rule|checkpoint) (\w+):", rules, re.M))
    assert "model_check" in targets
    behind = re.compile(
        rf"--config(?:file)?(?:s)?[ =](?:(?!--|#)\S+ +)+?(?:results/|(?:{'|'.join(targets)})\b)"
    )
    assert behind.search("snakemake --configfile x.yaml model_check")
    assert not behind.search("snakemake model_check --configfile x.yaml")
    folders = ("snakesteer", "workflow", "config", "profiles", "benchmarks", "tests/workflow")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files = [path for path in files if path.suffix in (".py", ".smk", ".yaml", ".md")]
    found = [
        (path.name, match[0])
        for path in [*files, ROOT / "Snakefile", *TEXTS]
        if (match := behind.search(path.read_text(encoding="utf-8")))
    ]
    assert found == []


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
