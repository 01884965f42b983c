"""What tracking costs and how fast it delivers: ``make bench`` measures it and writes ``docs/benchmarks.md``."""
