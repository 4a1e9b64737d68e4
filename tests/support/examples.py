"""How many examples each property gets in a campaign, and how often other tests repeat."""

import hypothesis

EXAMPLES = {"full": 1450, "sampled": 290}  # seven properties play rollouts
STORE_STORIES = {"full": 300}  # of each store, against the model
OVER_GRANT_ROUNDS = {"full": 10_000}  # of three replicas that race for one slot, on each store
MALFORMED_REQUESTS = {"full": 100_000}
RESULTS = "KUBE_UPGRADE_RESULTS"  # the environment names the file that counts of such tests are added to


def profile() -> str:
    """The hypothesis profile that pytest was started with: a campaign's size, or `default`."""
    return hypothesis.settings.get_current_profile_name()
