"""A shop that never was: orders, what became of them, and the truth, as much as one asks for.

`dataset.write_dataset` writes a data set, `generate.simulate` yields it block by block. What is
simulated, and what is deliberately hard about it, is told in `docs/simulator.md`.
"""
