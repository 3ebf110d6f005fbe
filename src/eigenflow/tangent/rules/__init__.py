"""How parameters enter J, layer by layer, where that is cheaper than differentiating the whole network."""
