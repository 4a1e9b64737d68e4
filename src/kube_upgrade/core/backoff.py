"""How long to wait after failures in a row."""


def pause(failures: int, *, first: float, most: float, dice: float) -> float:
    """Seconds to wait after this many failures in a row (1 or more): doubled each time, up to `most`.

    `dice` in 0..1 spreads callers over the upper half of the pause, so that they do not return all at once.
    """
    full = min(most, first * 2.0 ** min(failures - 1, 60))
    return full * (0.5 + 0.5 * dice)
