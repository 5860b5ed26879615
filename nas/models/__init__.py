"""Networks from blocks: plain modules, the network, and the supernet that shares weights among networks."""
