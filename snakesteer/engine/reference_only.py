"""Which methods need the reference engine. Imported while the Snakefile is read."""

from collections.abc import Iterable

REFERENCE_ONLY = frozenset({"actadd", "dac_heads", "iti"})


def needs_reference(methods: Iterable[str]) -> bool:
    """Whether a run with these methods needs the reference engine.

    It is decided for the whole run, the unsteered answers included: what one engine computes does
    not compare with what the other computes.

    Args:
        methods: ``steering.methods``.
    """
    return not REFERENCE_ONLY.isdisjoint(methods)
