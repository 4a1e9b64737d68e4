"""How many examples each property gets in a campaign: seven of them play rollouts."""

EXAMPLES = {"full": 1450, "sampled": 290}
