"""Search: evaluators, samplers, Pareto tools and the engine that asks and tells."""
