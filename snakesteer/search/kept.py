"""Which validation problems are kept from the search, to confirm its choice."""


def searched(problems: int, confirm: float) -> int:
    """How many validation problems the search works on; the others, behind them, confirm.

    Args:
        problems: Of the validation split.
        confirm: `search.confirm`.
    """
    return problems - round(problems * confirm)
