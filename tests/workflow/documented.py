"""What docs/new_method.md tells to save, read from the page to the letter."""

import re

from tests.workflow.project import CHECKOUT, Project

PAGE = (CHECKOUT / "docs" / "new_method.md").read_text(encoding="utf-8")


def save(project: Project, name: str) -> str:
    """Save a documented module and the overlay that uses it; the module's path.

    Args:
        project: Where to.
        name: Of the module, such as ``median``.
    """
    path = re.search(rf"`(snakesteer/[\w/]+/{name}\.py)`", PAGE)[1]
    [code] = re.findall(rf"`{path}`:\n\n```python\n(.*?)```", PAGE, re.S)
    [overlay] = re.findall(rf"```yaml\n# {name}\.yaml\n(.*?)```", PAGE, re.S)
    (project.folder / path).write_text(code, encoding="utf-8")
    (project.folder / f"{name}.yaml").write_text(overlay, encoding="utf-8")
    return path
