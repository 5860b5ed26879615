"""The project's own benchmarks: each is a module with `run(data, smoke) -> Outcome`, named by `nas bench NAME`."""
