"""Nothing that is read can run code: no pickle, no evaluation of texts, no shell."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("snakesteer", "workflow")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".smk")
)
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.full_load",
    "yaml.unsafe_load",
    "pandas.read_pickle",
    "pd.read_pickle",
}
# Calls that are safe with one argument and no other way.
NEEDED = {"torch.load": ("weights_only", True)}
REFUSED = {"allow_pickle": True, "shell": True, "trust_remote_code": True}


def faults(source: str) -> list[str]:
    """What in a module could run code that it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").partition(".")[0]}
        else:
            names = set()
        found += sorted(names & FORBIDDEN_MODULES)
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        values = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
        if name in FORBIDDEN_CALLS:
            found.append(name)
        if name in NEEDED and values.get(NEEDED[name][0]) is not NEEDED[name][1]:
            found.append(name)
        found += [f"{key}=True" for key, value in REFUSED.items() if values.get(key) is value]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_can_run(path: Path):
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".smk":  # no Python as a whole: its imports and calls are, line by line
        lines = [line.strip() for line in source.splitlines()]
        source = "\n".join(line for line in lines if _parses(line))
    assert faults(source) == []


def _parses(line: str) -> bool:
    try:
        ast.parse(line)
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "import torch.nn, marshal",
        "eval(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "subprocess.run(command, shell=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_check_finds_what_it_looks_for(line: str):
    assert len(faults(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()",
        "re.compile(pattern)",
        "torch.load(path, weights_only=True)",
        "yaml.safe_load(text)",
        "load(name, trust_remote_code=model.trust_remote_code)",
    ],
)
def test_the_check_leaves_the_rest(line: str):
    assert faults(line) == []
