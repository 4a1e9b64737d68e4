"""What a node does next, from one look at it. `decide` reads the rules in order; each file is named after its fact."""
