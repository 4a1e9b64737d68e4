"""How long to wait: after failures in a row, and where a server names the pause."""


def pause(failures: int, *, first: float, most: float, dice: float) -> float:
    """Seconds to wait after this many failures in a row (1 or more): doubled each time, up to `most`.

    `dice` in 0..1 spreads callers over the upper half of the pause, so that they do not return all at once.
    """
    full = min(most, first * 2.0 ** min(failures - 1, 60))
    return full * (0.5 + 0.5 * dice)


def no_sooner(asked: float, *, dice: float) -> float:
    """Seconds to wait where a server asks for this many: never fewer, and up to a quarter more.

    A server tells everybody the same; `dice` in 0..1 spreads them, so that they do not return all at once.
    """
    return asked * (1.0 + 0.25 * dice)
