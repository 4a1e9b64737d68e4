"""How many examples each property gets in a campaign, and how often other tests repeat."""

import hypothesis

EXAMPLES = {"full": 1450, "sampled": 290}  # of each property, seven of which play rollouts
STORE_STORIES = {"full": 300}  # of each store, against the model
OVER_GRANT_ROUNDS = {"default": 100, "sampled": 500, "full": 10_000}  # of three replicas, on each store
FAILURE_CELLS = {"default": 5, "sampled": 20}  # played with real processes; a full campaign plays all
MALFORMED_REQUESTS = {"full": 100_000}
CELLS = "failure-cells.json"  # beside the file that RESULTS names: how each cell of the failure matrix ended
RESULTS = "KUBE_UPGRADE_RESULTS"  # the environment names the file that counts of such tests are added to


def profile() -> str:
    """The hypothesis profile that pytest was started with: a campaign's size, or `default`."""
    return hypothesis.settings.get_current_profile_name()


def examples(default: int) -> int:
    """How many examples a property gets that a campaign plays again with other seeds: `default` outside of one."""
    return EXAMPLES.get(profile(), default)


def many(numbers: dict[str, int]) -> int:
    """The number of this profile; any that is no campaign's (hypothesis has one of its own for CI) is `default`."""
    return numbers.get(profile(), numbers["default"])
